"""Projects: made, listed and limited by whoever runs the installation."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from app.contracts.projects import NewProject, Project, ProjectChanges
from app.contracts.registry import Page
from app.db.models import Project as ProjectRow
from app.db.session import Database, database_now
from app.errors import Conflict, NotFound
from app.services import audit
from app.services.ownership import ends, newest
from app.services.quotas import quotas_of, set_quotas


def create_project(database: Database, new: NewProject) -> Project:
    """Make a project; it has no key yet.

    Raises:
        Conflict: Another has that name.
    """
    with database.write() as session:
        row = add_project(session, new.name)
        set_quotas(session, row.id, new.quotas)
        return _views(session, [row])[0]


def list_projects(database: Database, after: str | None, limit: int) -> Page[Project]:
    with database.read() as session:
        rows, has_more = newest(session, select(ProjectRow), ProjectRow, after, limit)
        data = _views(session, rows)
    return Page[Project](data=data, has_more=has_more, **ends([one.id for one in data]))


def read_project(database: Database, project_id: str) -> Project:
    with database.read() as session:
        return _views(session, [find_project(session, project_id)])[0]


def update_project(database: Database, project_id: str, changes: ProjectChanges) -> Project:
    """Change what is given; quotas hold from now on, and take nothing away.

    Raises:
        Conflict: Another project has that name.
    """
    with database.write() as session:
        row = find_project(session, project_id)
        # One at a time, so that two at once do not both make the row of a first quota.
        session.refresh(row, with_for_update={"key_share": True})
        if changes.name is not None:
            row.name = changes.name
            _flush(session, changes.name)
        set_quotas(session, row.id, changes.quotas)
        audit.note(session, row.id, "project.update", row.id)
        return _views(session, [row])[0]


def find_named(database: Database, name: str) -> Project:
    """Read a project by its name.

    Raises:
        NotFound: There is none.
    """
    with database.read() as session:
        row = session.scalar(select(ProjectRow).where(ProjectRow.name == name))
        if row is None:
            raise NotFound(f"there is no project {name!r}")
        return _views(session, [row])[0]


def find_project(session: Session, project_id: str) -> ProjectRow:
    row = session.get(ProjectRow, project_id)
    if row is None:
        raise NotFound("there is no project with that id")
    return row


def add_project(session: Session, name: str) -> ProjectRow:
    """Add a project without quotas.

    Raises:
        Conflict: Another has that name.
    """
    row = ProjectRow(id=f"proj-{uuid7()}", name=name, created_at=database_now(session))
    session.add(row)
    _flush(session, name)
    audit.note(session, row.id, "project.create", row.id)
    return row


def _flush(session: Session, name: str) -> None:
    try:
        session.flush()
    except IntegrityError:
        raise Conflict(f"there is a project {name!r} already; choose another name") from None


def _views(session: Session, rows: Sequence[ProjectRow]) -> list[Project]:
    quotas = quotas_of(session, [row.id for row in rows])
    return [
        Project(id=row.id, name=row.name, quotas=quotas[row.id], created_at=row.created_at)
        for row in rows
    ]
