"""Dataclasses as plain JSON values, and back: how results are kept in files."""

import math
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np


def to_record(value: Any, without: tuple[str, ...] = ()) -> Any:
    """A dataclass as a dict of its fields (but those named in `without`), all the way down; numbers that are not
    finite become None.
    """
    if is_dataclass(value):
        return {f.name: to_record(getattr(value, f.name)) for f in fields(value) if f.name not in without}
    if isinstance(value, dict):
        return {str(key): to_record(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [to_record(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def from_record(kind: Any, record: Any, **given: Any) -> Any:
    """The value of type `kind` that `to_record` made `record` of: None is NaN where a number is due. `given` are
    fields that the record does not hold; fields unknown to `kind` are passed over.

    Raises KeyError for a field that is missing and has no default, TypeError or ValueError where a value is of
    another type.
    """
    if is_dataclass(kind):
        make: Any = kind
        types, values = get_type_hints(kind), dict(given)
        for f in fields(kind):
            if f.name in given:
                continue
            if f.name in record:
                values[f.name] = from_record(types[f.name], record[f.name])
            elif f.default is MISSING and f.default_factory is MISSING:
                raise KeyError(f.name)
        return make(**values)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if record is None and NoneType in arguments:
            return None
        return from_record(next(a for a in arguments if a is not NoneType), record)
    if origin is tuple:
        inner = arguments[:1] * len(record) if arguments[1:] == (...,) else arguments
        return tuple(from_record(a, item) for a, item in zip(inner, record, strict=True))
    if origin is list:
        return [from_record(arguments[0], item) for item in record]
    if origin is dict:
        return {key: from_record(arguments[1], item) for key, item in record.items()}
    if kind is float:
        return math.nan if record is None else float(record)
    if kind is np.ndarray:
        return np.array(record, dtype=np.float64)  # None becomes NaN
    if kind in (int, str, bool) and type(record) is not kind:
        raise TypeError(f"{record!r} is no {kind.__name__}")
    return record
