"""`stillhouse models alias`: which version of a model a word such as `production` stands for."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.cli import options
from app.cli.client import connect, print_json
from app.contracts.registry import ModelAlias, Page

PATH = "/v1/model_aliases"

commands = typer.Typer(help="Words that stand for a version of a model.", no_args_is_help=True)
console = Console(soft_wrap=True)

AliasId = Annotated[str, typer.Argument(metavar="NAME@ALIAS", help="As `digits@production`.")]


@commands.command()
def move(
    alias_id: AliasId,
    version: Annotated[int, typer.Argument(min=1)],
    if_move: Annotated[
        int | None, typer.Option(min=1, help="Only where its last move is still this one.")
    ] = None,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Let an alias stand for a version, whether it is new or stood for another."""
    if_match = None if if_move is None else f'"{if_move}"'
    body = json.dumps({"version": version}).encode()
    with connect(url, key_file) as service:
        response = service.put(f"{PATH}/{alias_id}", body, if_match)
    moved = ModelAlias.model_validate_json(response.content)
    typer.echo(f"{moved.id} is version {moved.version}, {moved.model_id}, by move {moved.move}")


@commands.command("list")
def list_aliases(
    name: Annotated[str | None, typer.Option(help="Those of one name.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    url: options.Url = None,
    key_file: options.KeyFile = None,
    *,
    as_json: options.Json = False,
) -> None:
    """List aliases, by alphabet."""
    wanted = {} if name is None else {"name": name}
    with connect(url, key_file) as service:
        response = service.get(PATH, limit=limit, **wanted)
    if as_json:
        print_json(response)
        return
    table = Table("alias", "version", "model", "move")
    for alias in Page[ModelAlias].model_validate_json(response.content).data:
        table.add_row(alias.id, str(alias.version), alias.model_id, str(alias.move))
    console.print(table)


@commands.command()
def remove(alias_id: AliasId, url: options.Url = None, key_file: options.KeyFile = None) -> None:
    """Remove an alias; the model that it stood for stays."""
    with connect(url, key_file) as service:
        service.delete(f"{PATH}/{alias_id}")
    typer.echo(f"{alias_id} is removed")
