"""Models whose learning coefficient and multiplicity are known exactly, as torch potentials and as networks.

>>> from slt import zoo
>>> zoo.get("crossing-2-2").rlct.multiplicity
2
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache

from samplers.errors import InputError
from slt.zoo import (
    crossings,
    linear_networks,
    mixtures,
    overparameterized,
    polynomial_networks,
    polynomials,
    single_layer,
    superposition,
)
from slt.zoo.linear_reference import LinearReference, linear_reference
from slt.zoo.model import AnalyticModel, RegressionModel

__all__ = ["AnalyticModel", "LinearReference", "RegressionModel", "get", "groups", "linear_reference", "models"]

_BUILDERS = (
    crossings.models,
    polynomials.models,
    overparameterized.models,
    linear_networks.models,
    single_layer.models,
    superposition.models,
    polynomial_networks.models,
    mixtures.models,
)


@cache
def _registry() -> dict[str, AnalyticModel]:
    registry: dict[str, AnalyticModel] = {}
    for model in (model for build in _BUILDERS for model in build()):
        if model.name in registry:
            raise AssertionError(f"two models of the zoo are called {model.name}")
        registry[model.name] = model
    return registry


def groups() -> list[str]:
    """Return the names of the groups, in the order of the zoo."""
    return list(dict.fromkeys(model.group for model in _registry().values()))


def models(group: str | None = None) -> list[AnalyticModel]:
    """Return all models, or those of one group; InputError for a group there is not."""
    if group is not None and group not in groups():
        raise InputError(f"no group {group!r} in the zoo, there are: {', '.join(groups())}")
    return [model for model in _registry().values() if group is None or model.group == group]


def get(name: str) -> AnalyticModel:
    """Return the model of that name; InputError with the nearest names otherwise."""
    registry = _registry()
    if name not in registry:
        near = get_close_matches(name, registry, n=3, cutoff=0.4) or list(registry)[:3]
        raise InputError(f"no model {name!r} in the zoo, did you mean {', '.join(near)}?")
    return registry[name]
