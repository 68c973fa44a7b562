"""`stillhouse keys`: API keys, straight on the database, for whoever runs the service."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Column, Table

from app.config import Settings
from app.contracts.projects import ProjectName
from app.contracts.requests import PROJECT_SCOPES, SCOPES, KeyName, Scope
from app.db.session import Database
from app.errors import NotFound, ServiceError
from app.services import keys
from app.services.projects import find_named

commands = typer.Typer(help="API keys, straight on the database.", no_args_is_help=True)
console = Console(soft_wrap=True)
complaints = Console(stderr=True, soft_wrap=True)

MOST_LISTED = 1000
MOST_DAYS = 36_500

Project = Annotated[str, typer.Option("--project", help="Whose key it is.")]


@commands.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    project: Project = keys.DEFAULT_PROJECT,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What it may do; again for more; all in its project by default."),
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=MOST_DAYS, help="After which it expires.")
    ] = None,
    *,
    admin: Annotated[
        bool, typer.Option("--admin", help="It may also manage all projects (projects:admin).")
    ] = False,
) -> None:
    """Make a key and print it, once; a project that is new is made with it."""
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    scopes = _scopes(scope, admin=admin)
    _check_names(name, project)
    settings = Settings()
    with open_database(settings) as database:
        is_new = not _is_there(database, project)
        _, secret = keys.create_key(
            database,
            keys.load_pepper(settings.pepper_file),
            project=project,
            name=name,
            scopes=scopes,
            expires_at=expires_at,
        )
    if is_new:
        complaints.print(f"There was no project {project!r}; it was made.", markup=False)
    typer.echo(secret)


@commands.command("list")
def list_keys(project: Project = keys.DEFAULT_PROJECT) -> None:
    """List a project's keys, without their secrets."""
    with open_database(Settings()) as database:
        page = keys.list_keys(database, find_named(database, project).id, None, MOST_LISTED)
    table = Table(
        Column("key", min_width=36), "name", "scopes", "made", "last used", "expires", "revoked"
    )
    for key in page.data:
        times = (key.created_at, key.last_used_at, key.expires_at, key.revoked_at)
        shown = ("" if time is None else f"{time:%Y-%m-%d %H:%M}" for time in times)
        table.add_row(key.id, key.name, " ".join(key.scopes), *shown)
    console.print(table)
    if page.has_more:
        complaints.print(f"These are the newest {MOST_LISTED:,}; GET /v1/api_keys lists the rest.")


@commands.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="Its id, as `key-...`.")],
    project: Project = keys.DEFAULT_PROJECT,
) -> None:
    """Make a key useless from now on."""
    with open_database(Settings()) as database:
        keys.revoke_key(database, find_named(database, project).id, key_id)
    console.print(f"{key_id} is revoked.", highlight=False)


def _scopes(names: list[str] | None, *, admin: bool) -> list[Scope]:
    try:
        scopes = TypeAdapter(list[Scope]).validate_python(names or PROJECT_SCOPES)
    except ValidationError:
        raise typer.BadParameter(f"a scope is one of: {', '.join(SCOPES)}") from None
    return [*scopes, "projects:admin"] if admin else scopes


def _check_names(name: str, project: str) -> None:
    try:
        TypeAdapter(KeyName).validate_python(name)
    except ValidationError:
        raise typer.BadParameter(
            f"given {name!r:.80}; expected 1 to 200 characters", param_hint="NAME"
        ) from None
    try:
        TypeAdapter(ProjectName).validate_python(project)
    except ValidationError:
        raise typer.BadParameter(
            f"given {project!r}; expected at most 64 letters, digits, `.`, `_` and `-`, with a "
            "letter or digit at both ends",
            param_hint="--project",
        ) from None


def _is_there(database: Database, project: str) -> bool:
    try:
        find_named(database, project)
    except NotFound:
        return False
    return True


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.database_url)
    try:
        yield database
    except ServiceError as error:
        complaints.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from None
    finally:
        database.close()
