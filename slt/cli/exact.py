"""`slt exact`: (λ, m) as a fraction."""

from typing import Annotated

import typer

from samplers.errors import InputError


def exact(
    polynomials: Annotated[
        list[str],
        typer.Argument(help="A polynomial K >= 0; several, f1 f2 ..., mean K = f1² + f2² + ...; or a family's words."),
    ],
    at: Annotated[str | None, typer.Option(help="The point, such as 0,1/2. [default: the origin]")] = None,
    variables: Annotated[str | None, typer.Option(help="Their order, such as x,y. [default: alphabetical]")] = None,
    family: Annotated[str | None, typer.Option(help="A closed form by name, such as reduced-rank M H N r.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Exact local learning coefficient λ and multiplicity m, as a fraction.

    Two variables: exact for every polynomial. More: from the Newton polyhedron, and called an upper bound where it is
    not proved exact. A family's closed form: `slt exact --family reduced-rank 10 5 5 2`; negative numbers need a `--`
    in front.
    """
    import json as json_library

    from slt.exact.commands import exact_family, exact_polynomials

    if family is not None:
        if at is not None or variables is not None:
            raise InputError("--at and --variables belong to polynomials, not to --family")
        rlct = exact_family(family, polynomials)
    else:
        rlct = exact_polynomials(polynomials, at, variables)
    typer.echo(json_library.dumps(rlct.to_dict(), ensure_ascii=False) if json else str(rlct))
