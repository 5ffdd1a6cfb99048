"""The command line: one module per command."""

import sys
import warnings
from typing import Annotated

import typer

from samplers.errors import InputError
from slt.cli.compare import compare
from slt.cli.diagnose import diagnose
from slt.cli.estimate import estimate
from slt.cli.exact import exact
from slt.cli.report import report
from slt.cli.track import track
from slt.cli.validate import validate

app = typer.Typer(
    help="Local learning coefficients of trained networks, with honest errors and nothing to tune.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # it would take [default: ...] in a help text for markup, and drop it
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the full traceback of an error.")] = False,
) -> None:
    """Local learning coefficients of trained networks, with honest errors and nothing to tune."""


for command in (estimate, diagnose, track, report, compare, exact, validate):
    app.command()(command)


def main() -> None:
    """Entry point: an InputError becomes one line and exit code 2; --debug shows its traceback."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if not debug:
        warnings.simplefilter("ignore")
    try:
        app(args=arguments, prog_name="slt")
    except InputError as error:
        if debug:
            raise
        typer.echo(f"slt: {' '.join(str(error).split())}", err=True)
        sys.exit(2)
