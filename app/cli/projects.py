"""`stillhouse projects`: projects and their quotas, straight on the database."""

from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Column, Table

from app.cli.keys import open_database
from app.config import Settings
from app.contracts.projects import LARGEST, NewProject, ProjectChanges, Quotas
from app.services import projects, quotas

commands = typer.Typer(help="Projects and quotas, straight on the database.", no_args_is_help=True)
console = Console(soft_wrap=True)

MOST_LISTED = 1000
UNLIMITED = "none"

Name = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's name.")]
QueuedJobs = Annotated[
    str | None, typer.Option(help=f"The most that may wait; `{UNLIMITED}` for no limit.")
]
RunningJobs = Annotated[
    str | None, typer.Option(help=f"The most that may run; `{UNLIMITED}` for no limit.")
]
StoredBytes = Annotated[
    str | None, typer.Option(help=f"The most that may be stored; `{UNLIMITED}` for no limit.")
]


@commands.command()
def create(
    name: Name,
    queued_jobs: QueuedJobs = None,
    running_jobs: RunningJobs = None,
    stored_bytes: StoredBytes = None,
) -> None:
    """Make a project and print its id; `stillhouse keys create --project` makes its keys."""
    most = _quotas(queued_jobs, running_jobs, stored_bytes)
    try:
        new = NewProject(name=name, quotas=most)
    except ValidationError as error:
        raise typer.BadParameter(error.errors()[0]["msg"]) from None
    with open_database(Settings()) as database:
        console.print(projects.create_project(database, new).id, highlight=False)


@commands.command("list")
def list_projects() -> None:
    """List projects with what they use of their quotas."""
    table = Table(Column("project", min_width=41), "name", "queued", "running", "stored bytes")
    with open_database(Settings()) as database:
        for project in projects.list_projects(database, None, MOST_LISTED).data:
            usage = quotas.read_usage(database, project.id)
            each = (usage.queued_jobs, usage.running_jobs, usage.stored_bytes)
            shown = (str(of.used) if of.most is None else f"{of.used} of {of.most}" for of in each)
            table.add_row(project.id, project.name, *shown)
    console.print(table)


@commands.command()
def update(
    name: Name,
    new_name: Annotated[str | None, typer.Option("--name", help="A new name.")] = None,
    queued_jobs: QueuedJobs = None,
    running_jobs: RunningJobs = None,
    stored_bytes: StoredBytes = None,
) -> None:
    """Change a project's name or quotas; what is not given stays."""
    most = _quotas(queued_jobs, running_jobs, stored_bytes)
    try:
        changes = ProjectChanges(name=new_name, quotas=most)
    except ValidationError as error:
        raise typer.BadParameter(error.errors()[0]["msg"]) from None
    with open_database(Settings()) as database:
        found = projects.find_named(database, name)
        changed = projects.update_project(database, found.id, changes)
    console.print(f"{changed.name}: {changed.quotas.model_dump_json()}", highlight=False)


def _quotas(queued_jobs: str | None, running_jobs: str | None, stored_bytes: str | None) -> Quotas:
    given = {
        "queued_jobs": queued_jobs,
        "running_jobs": running_jobs,
        "stored_bytes": stored_bytes,
    }
    most = {name: _most(text) for name, text in given.items() if text is not None}
    return Quotas.model_validate(most)


def _most(text: str) -> int | None:
    if text == UNLIMITED:
        return None
    if not text.isascii() or not text.isdigit() or int(text) > LARGEST:
        raise typer.BadParameter(f"given {text!r}; expected a whole number, or `{UNLIMITED}`")
    return int(text)
