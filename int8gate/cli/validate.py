"""`int8gate validate`: whether files are results of a run, as tools of yours may rely on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help=__doc__)


@app.command()
def validate(
    files: Annotated[
        list[Path] | None, typer.Argument(help="results.json files, or report folders")
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="print the JSON Schema that they follow")
    ] = False,
) -> None:
    """Check results.json files against their schema; exits with 1 where one does not follow it."""
    from int8gate.validation.comparing.history import read_results
    from int8gate.validation.results_model import check, schema_text

    if schema:
        typer.echo(schema_text(), nl=False)
    elif not files:
        typer.echo("name a results.json, or a folder of pytest --report", err=True)
        raise typer.Exit(2)
    failed = False
    for file in files or ():
        try:
            path, content = read_results(file)
            check(content, str(path))
        except (OSError, ValueError) as error:
            typer.echo(str(error), err=True)
            failed = True
        else:
            typer.echo(f"{path}: schema {content['schema']}, {len(content['cases'])} cases")
    if failed:
        raise typer.Exit(1)
