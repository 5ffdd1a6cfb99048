"""`slt diagnose`: what a run's draws say of it, in the terminal and as a picture."""

from pathlib import Path
from typing import Annotated

import typer

from samplers.errors import InputError
from slt.cli.naming import naming


def diagnose(
    runs: Annotated[
        list[Path], typer.Argument(help="A file of slt estimate ... --save FILE; two or more are compared.")
    ],
    plot: Annotated[Path | None, typer.Option(help="Draw the dashboard into this file (.png, .svg, .pdf).")] = None,
    ladder: Annotated[
        Path | None,
        typer.Option(
            help="The run's task file: sample llc at 1/4, 1/2, 2 and 4 times its beta and gamma, where its draws do "
            "not reach, by short runs that are kept in RUN."
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="With --ladder: the run's checkpoint, if it has moved since.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    progress: Annotated[
        bool | None, typer.Option(help="Live progress of --ladder on standard error. [default: if it is a terminal]")
    ] = None,
) -> None:
    """The dashboard of a run: traces, convergence by chain, distance, energy, llc across scales, what to do next.

    With several runs: their estimates side by side, and a warning where they were made at different scales.
    """
    from slt.files import check_writable
    from slt.llc.estimate import Estimate

    if plot is not None:
        check_writable(plot)
    if len(runs) > 1:
        if plot is not None or ladder is not None:
            raise InputError("--plot and --ladder belong to one run: give a single RUN")
        from slt.scale.comparison import compare_scales

        result = compare_scales([Estimate.load(run) for run in runs], [str(run) for run in runs])
        typer.echo(result.to_json() if json else str(result))
        return
    from rich.console import Console

    from slt.diagnosis.diagnosis import diagnose as take_apart
    from slt.diagnosis.text import WIDTH, as_text, render
    from slt.scale.ladder import sampled_scales

    run = runs[0]
    estimate = Estimate.load(run)
    if ladder is not None:
        estimate = _climbed(estimate, ladder, checkpoint, progress)
        estimate.save(run)
    found = take_apart(estimate, sampled_scales(estimate))
    if json:
        typer.echo(found.to_json())
    else:
        console = Console(highlight=False)
        if console.is_terminal:
            console.width = max(80, min(WIDTH, console.width))
            for part in render(found, str(run)):
                console.print(part)
        else:
            typer.echo(as_text(found, str(run)))
    if plot is not None:
        from slt.plot import plot_diagnosis

        plot_diagnosis(found, plot, str(run))


def _climbed(estimate, task: Path, checkpoint: Path | None, progress: bool | None):
    """The estimate with points sampled at other scales."""
    from slt.checkpoints import load_checkpoint
    from slt.scale.ladder import sample_scales
    from slt.task import load_task

    weights = checkpoint or (Path(estimate.checkpoint) if estimate.checkpoint else None)
    if weights is None:
        raise InputError("the run does not say which checkpoint it is of: give --checkpoint")
    if not weights.exists():
        raise InputError(f"{weights}: the run's checkpoint is not there any more: give --checkpoint")
    loaded = load_task(task)
    load_checkpoint(loaded.model, weights)
    with naming(task):
        return sample_scales(estimate, loaded.model, loaded.data, loaded.loss, progress=progress)
