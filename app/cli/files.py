"""`stillhouse files` and `download`: data to the service, results from it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.cli import options
from app.cli.client import JOBS, Service, connect
from app.cli.download import download
from app.cli.progress import byte_bar
from app.cli.upload import send
from app.contracts.job import FileEntry, Job
from app.contracts.registry import Model

commands = typer.Typer(help="Upload data.", no_args_is_help=True)
console = Console(soft_wrap=True)


@commands.command()
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
        model = Model.model_validate_json(service.get(f"/v1/models/{source}").content)
        # By its id: an alias may stand for another before all files are here.
        route, files = f"/v1/models/{model.id}", model.files
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
