"""What a training loop's logger is told of an estimate."""

from typing import Any


def logged(row: dict[str, Any]) -> dict[str, float]:
    """`slt/llc` and `slt/llc_std_error` of a row of the trajectory; nothing where its number cannot be used."""
    if row["status"] not in ("ok", "warning"):
        return {}
    return {"slt/llc": row["llc"], "slt/llc_std_error": row["std_error"]}
