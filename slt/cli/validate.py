"""`slt validate`: the estimators against exact answers."""

from typing import Annotated

import typer


def validate(
    quick: Annotated[bool, typer.Option("--quick", help="A dozen models, a wider error: some minutes.")] = False,
    only: Annotated[str | None, typer.Option(help="One group, model or estimator.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per check.")] = False,
) -> None:
    """Hold every estimator against models with exact answers.

    Exit code 0: none falls outside. 1: some do. Verdicts: agrees; OUTSIDE; refused (the estimator itself says that
    its number is not usable); no reference (nothing exact is known at finite n).
    """
    import json as json_library

    from slt.llc.estimate import finite
    from slt.validation import HEADER, table_row, tally
    from slt.validation import validate as run

    checks = []
    if not json:
        typer.echo(HEADER)
    for check in run(only, quick):
        checks.append(check)
        values = {name: finite(value) for name, value in check.to_dict().items()}
        typer.echo(json_library.dumps(values, ensure_ascii=False) if json else table_row(check))
    if not json:
        typer.echo(tally(checks))
    if any(check.verdict == "OUTSIDE" for check in checks):
        raise typer.Exit(1)
