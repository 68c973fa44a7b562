"""`stillhouse models`: list teachers and students, bring a teacher, delete."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from app.cli import options
from app.cli.client import connect, print_json
from app.cli.upload import send
from app.contracts.registry import Model, Page
from app.contracts.report_figures import QUALITIES

PATH = "/v1/models"

commands = typer.Typer(help="Teachers and students.", no_args_is_help=True)
console = Console(soft_wrap=True)


@commands.command("list")
def list_models(
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    url: options.Url = None,
    key_file: options.KeyFile = None,
    *,
    as_json: options.Json = False,
) -> None:
    """List models, newest first."""
    with connect(url, key_file) as service:
        response = service.get(PATH, limit=limit)
    if as_json:
        print_json(response)
        return
    table = Table(
        Column("model", min_width=42),
        "name",
        "version",
        "role",
        "architecture",
        "parameters",
        "test quality",
    )
    for model in Page[Model].model_validate_json(response.content).data:
        architecture = str(model.architecture.get("name"))
        quality = model.test_quality
        numbers = (
            f"{model.num_parameters:,}",
            None if quality is None else f"{QUALITIES[model.compared_by]} {quality:.4f}",
        )
        version = None if model.version is None else str(model.version)
        table.add_row(model.id, model.name, version, model.role, architecture, *numbers)
    console.print(table)


@commands.command()
def register(
    weights: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, metavar="MODEL.safetensors")
    ],
    about: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            metavar="ABOUT.json",
            help="What POST /v1/models takes, without the weights.",
        ),
    ],
    url: options.Url = None,
    key_file: options.KeyFile = None,
    *,
    as_json: options.Json = False,
) -> None:
    """Upload the weights of a teacher that was trained elsewhere, and make a model of them."""
    try:
        body = json.loads(about.read_bytes())
    except ValueError as error:
        raise typer.BadParameter(f"{about} is no JSON: {error}") from None
    if not isinstance(body, dict):
        raise typer.BadParameter(f"{about} holds {type(body).__name__}; expected a JSON object")
    with connect(url, key_file) as service:
        file = send(service, weights, "weights")
        response = service.create(PATH, json.dumps({**body, "weights": file.id}).encode(), None)
    if as_json:
        print_json(response)
    else:
        typer.echo(Model.model_validate_json(response.content).id)


@commands.command()
def delete(
    model: Annotated[str, typer.Argument(help="Its id, or NAME@VERSION.")],
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Delete a model with its files."""
    with connect(url, key_file) as service:
        response = service.delete(f"{PATH}/{model}")
    typer.echo(f"{response.json()['id']} is deleted")
