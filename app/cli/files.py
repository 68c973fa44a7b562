"""`stillhouse files`, `models` and `download`: data to the service, models from it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Column, Table

from app.cli import options
from app.cli.client import JOBS, Service, checked, connect, print_json
from app.cli.download import download
from app.contracts.job import FileEntry, Job
from app.contracts.registry import File, Model, Page
from app.contracts.report_figures import QUALITIES

file_commands = typer.Typer(help="Upload data.", no_args_is_help=True)
model_commands = typer.Typer(
    help="Teachers and students that jobs have made.", no_args_is_help=True
)
console = Console(soft_wrap=True)


@file_commands.command()
def upload(
    path: Annotated[Path, typer.Argument(exists=True, dir_okay=False, metavar="PATH")],
    url: options.Url = None,
    key_file: options.KeyFile = None,
    *,
    as_json: options.Json = False,
) -> None:
    """Upload a file of data and print its id, which a job's spec can name."""
    bar = _byte_bar(Console(stderr=True))
    with connect(url, key_file) as service, bar, bar.open(path, "rb", description="sent") as file:
        response = checked(
            service.http.post(
                "/v1/files", files={"file": (path.name, file)}, data={"purpose": "dataset"}
            )
        )
    if as_json:
        print_json(response)
    else:
        console.print(File.model_validate_json(response.content).id, highlight=False)


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
        quality = model.test_quality
        numbers = (
            f"{model.num_parameters:,}",
            None if quality is None else f"{QUALITIES[model.compared_by]} {quality:.4f}",
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
    with _byte_bar(Console(stderr=True)) as bar:
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


def _byte_bar(on: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=on,
        disable=not on.is_terminal,
        transient=True,
    )
