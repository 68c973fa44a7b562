"""The one function that every query for a project's things goes through."""

from collections.abc import Sequence
from typing import TypedDict, TypeVar

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from app.db.audit import AuditEntry
from app.db.models import ApiKey, File, Job, Knowledge, Model, Project
from app.db.uploads import Upload
from app.db.webhooks import Webhook, WebhookDelivery
from app.errors import NotFound

Owned = TypeVar(
    "Owned", ApiKey, AuditEntry, File, Job, Knowledge, Model, Upload, Webhook, WebhookDelivery
)
Listed = TypeVar(
    "Listed", ApiKey, AuditEntry, File, Job, Knowledge, Model, Project, Webhook, WebhookDelivery
)

NAMES = {
    ApiKey: "API key",
    AuditEntry: "audit entry",
    File: "file",
    Job: "job",
    Knowledge: "knowledge",
    Model: "model",
    Upload: "upload",
    Webhook: "webhook",
    WebhookDelivery: "delivery",
}


class Ends(TypedDict):
    """What a page says of the ids on it."""

    first_id: str | None
    last_id: str | None


def owned(table: type[Owned], project_id: str) -> Select[Owned]:
    """Select the rows of a table that belong to a project, and no others."""
    return select(table).where(table.project_id == project_id)


def find(
    session: Session,
    table: type[Owned],
    project_id: str,
    row_id: str,
    *conditions: ColumnElement[bool],
) -> Owned:
    """Read one row of a project, that meets further conditions where there are any.

    Raises:
        NotFound: There is none, or it is another project's; the two look the same.
    """
    row = owned(table, project_id).where(table.id == row_id, *conditions)
    return _only(session, table, row)


def find_to_change(session: Session, table: type[Owned], project_id: str, row_id: str) -> Owned:
    """Read one row of a project and keep others from changing it until the transaction ends.

    Raises:
        NotFound: As ``find``; also where it was deleted while this waited for it.
    """
    row = owned(table, project_id).where(table.id == row_id).with_for_update()
    return _only(session, table, row)


def find_to_name(session: Session, table: type[Owned], project_id: str, row_id: str) -> Owned:
    """Read one row of a project and keep it from being deleted until the transaction ends.

    Others may change it meanwhile.

    Raises:
        NotFound: As ``find``; also where it was deleted while this waited for it.
    """
    row = owned(table, project_id).where(table.id == row_id)
    return _only(session, table, row.with_for_update(read=True, key_share=True))


def newest(
    session: Session, query: Select[Listed], table: type[Listed], after: str | None, limit: int
) -> tuple[list[Listed], bool]:
    """Read at most ``limit`` rows older than ``after``, newest first, and whether more follow."""
    if after is not None:
        query = query.where(table.id < after)
    rows = session.scalars(query.order_by(table.id.desc()).limit(limit + 1)).all()
    return list(rows[:limit]), len(rows) > limit


def ends(ids: Sequence[str]) -> Ends:
    return Ends(first_id=ids[0] if ids else None, last_id=ids[-1] if ids else None)


def _only(session: Session, table: type[Owned], query: Select[Owned]) -> Owned:
    row = session.scalar(query.execution_options(populate_existing=True))
    if row is None:
        raise NotFound(f"this project has no {NAMES[table]} with that id")
    return row
