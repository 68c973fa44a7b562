"""`stillhouse files`, `models` and `download`: data to the service, models from it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from app.cli import options
from app.cli.client import JOBS, Service, connect, print_json
from app.cli.download import download
from app.cli.progress import byte_bar
from app.cli.upload import send
from app.contracts.job import FileEntry, Job
from app.contracts.registry import Model, Page
from app.contracts.report_figures import QUALITIES

file_commands = typer.Typer(help="Upload data.", no_args_is_help=True)
model_commands = typer.Typer(
    help="Teachers and students that jobs have made.", no_args_is_help=True
)
console = Console(soft_wrap=True)


@file_commands.command()
def upload(
    path: Annotated[Path, typer.Argument(exists=True, dir_okay=False, metavar="PATH")],
    upload_id: Annotated[
        str | None,
        typer.Option("--go-on", metavar="UPLOAD", help="Go on with one of it that broke off."),
    ] = None,
    url: options.Url = None,
    key_file: options.KeyFile = None,
    *,
    as_json: options.Json = False,
) -> None:
    """Upload a file of data, in parts if it is large; print its id, which a job's spec can name."""
    with connect(url, key_file) as service:
        file = send(service, path, "dataset", upload_id)
    if as_json:
        typer.echo(file.model_dump_json(indent=2))
    else:
        console.print(file.id, highlight=False)


@model_commands.command("list")
def list_models(
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    url: options.Url = None,
    key_file: options.KeyFile = None,
    *,
    as_json: options.Json = False,
) -> None:
    """List models, newest first."""
    with connect(url, key_file) as service:
        response = service.get("/v1/models", limit=limit)
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
        numbers = (
            f"{model.num_parameters:,}",
            f"{QUALITIES[model.compared_by]} {model.test_quality:.4f}",
        )
        version = None if model.version is None else str(model.version)
        table.add_row(model.id, model.name, version, model.role, architecture, *numbers)
    console.print(table)


def download_files(
    source: Annotated[
        str, typer.Argument(metavar="JOB_OR_MODEL", help="Its id; a model's name with `@`.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False)],
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Download a job's or a model's files; each verified, and resumed where it broke off."""
    with connect(url, key_file) as service:
        fetch_all(service, source, folder)


def fetch_all(service: Service, source: str, folder: Path) -> list[FileEntry]:
    """Download all files of a job or model, and say which came."""
    if source.startswith("model-") or "@" in source:
        route = f"/v1/models/{source}"
        files = Model.model_validate_json(service.get(route).content).files
    else:
        route = f"{JOBS}/{source}"
        files = Job.model_validate_json(service.get(route).content).files
    said = []
    with byte_bar(Console(stderr=True)) as bar:
        task = bar.add_task("received", total=sum(entry.bytes for entry in files))
        for entry in files:
            came = download(
                service, f"{route}/files", entry, folder, lambda size: bar.advance(task, size)
            )
            said.append(f"{'verified' if came else 'whole already'}  {entry.path}")
    for line in said:
        console.print(line, markup=False, highlight=False)
    console.print(f"{len(files)} files in {folder.absolute()}", markup=False, highlight=False)
    return files
