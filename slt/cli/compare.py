"""`slt compare`: which of several solutions the posterior prefers."""

from pathlib import Path
from typing import Annotated

import typer


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more files of slt estimate ... --ladder --save FILE.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Which of several solutions the posterior prefers at this n, by what odds, and at which n that flips.

    Each solution's prior is the localizing Gaussian around its own weights. Runs with other data, beta or gamma do not
    compare: give them all the same --beta and --gamma.
    """
    from slt.free_energies.compare import compare_phases
    from slt.free_energies.estimate import FreeEnergyEstimate

    result = compare_phases([FreeEnergyEstimate.load(run) for run in runs], [str(run) for run in runs])
    typer.echo(result.to_json() if json else str(result))
