"""`slt report`: a page to look at."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="The -o folder of slt track, finished or not.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="[default: RUN/report.html]")] = None,
) -> None:
    """Write the results of a series as one HTML page: curves, transitions, a panel for each checkpoint."""
    from slt.report.page import write_report

    typer.echo(f"wrote {write_report(run, output)}")
