"""`stillhouse knowledge`: what teachers were found to know, kept for other jobs."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from app.cli import options
from app.cli.client import connect, print_json
from app.contracts.knowledge import Fingerprint, Knowledge
from app.contracts.registry import Page

PATH = "/v1/knowledge"

commands = typer.Typer(help="What teachers know of data, collected once.", no_args_is_help=True)
console = Console(soft_wrap=True)

KnowledgeId = Annotated[
    str, typer.Argument(metavar="KNOWLEDGE", help="Its id, as `knowledge-...`.")
]


@commands.command("list")
def list_knowledge(
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    url: options.Url = None,
    key_file: options.KeyFile = None,
    *,
    as_json: options.Json = False,
) -> None:
    """List knowledge, newest first."""
    with connect(url, key_file) as service:
        response = service.get(PATH, limit=limit)
    if as_json:
        print_json(response)
        return
    table = Table(
        Column("knowledge", min_width=46), "task", "outputs", "views", "storage", "bytes", "used by"
    )
    for one in Page[Knowledge].model_validate_json(response.content).data:
        numbers = (f"{len(one.output_names):,}", f"{one.views:,}")
        table.add_row(one.id, one.task, *numbers, one.storage, f"{one.bytes:,}", str(one.used_by))
    console.print(table)


@commands.command()
def show(
    knowledge_id: KnowledgeId,
    url: options.Url = None,
    key_file: options.KeyFile = None,
    *,
    as_json: options.Json = False,
) -> None:
    """Show what knowledge is of: another's differs in one of the last rows at least."""
    with connect(url, key_file) as service:
        response = service.get(f"{PATH}/{knowledge_id}")
    if as_json:
        print_json(response)
        return
    one = Knowledge.model_validate_json(response.content)
    table = Table(show_header=False)
    rows = {
        "knowledge": one.id,
        "collected by": one.job_id or "a job that is deleted",
        "examples": f"{one.num_train:,} to train on, {one.num_held_out:,} held out",
        "views": f"{one.views:,}",
        "layers": ", ".join(one.layers) or "none",
        "bytes": f"{one.bytes:,}",
        "used by": f"{one.used_by:,} jobs that have not ended",
        **{part: getattr(one.fingerprint, part) for part in Fingerprint.model_fields},
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


@commands.command()
def delete(
    knowledge_id: KnowledgeId,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Delete knowledge that no job relies on."""
    with connect(url, key_file) as service:
        service.delete(f"{PATH}/{knowledge_id}")
    console.print(f"{knowledge_id} is deleted", highlight=False)
