"""What every picture needs: matplotlib where it is installed, limits that one stray draw does not set, a whole file."""

from pathlib import Path
from typing import Any

import numpy as np

from samplers.errors import InputError
from slt.files import written_whole


def pyplot() -> Any:
    """matplotlib.pyplot without a window. Raises InputError where it is not installed."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise InputError("plots need matplotlib: pip install 'slt-toolkit[plot]'") from error
    return plt


def running_mean(draws: np.ndarray) -> np.ndarray:
    """Mean over all chains of the draws so far, (draw,)."""
    return draws.mean(0).cumsum() / np.arange(1, draws.shape[1] + 1)


def limits(values: np.ndarray, above: float = 0.1) -> tuple[float, float] | None:
    """Where the middle 99% of the finite values lie, with a margin below and a share `above` of the range above."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    low, high = np.percentile(finite, [0.5, 99.5])
    span = (high - low) or max(abs(high), 1.0) * 0.1
    return float(low - 0.1 * span), float(high + above * span)


def save_figure(figure: Any, path: str | Path) -> None:
    """Write the figure in the format that the name ends in, and close it. Raises InputError for unknown formats."""
    with written_whole(path) as partial:
        try:
            figure.savefig(partial, dpi=130, format=Path(path).suffix.lstrip(".").lower() or "png")
        except ValueError as error:
            raise InputError(
                f"{path}: {str(error).splitlines()[0]}; use a name ending in .png, .svg or .pdf"
            ) from error
        finally:
            pyplot().close(figure)
