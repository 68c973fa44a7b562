"""The one function that every query for a project's things goes through."""

from collections.abc import Sequence
from functools import cache
from typing import Any, TypedDict, TypeVar, cast

from sqlalchemy import ColumnElement, Select, bindparam, select
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

_PROJECT_ID, _ROW_ID = "owner", "row"


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
    query = _by_id(table).where(*conditions) if conditions else _by_id(table)
    return _only(session, table, query, project_id, row_id)


def find_to_change(session: Session, table: type[Owned], project_id: str, row_id: str) -> Owned:
    """Read one row of a project and keep others from changing it until the transaction ends.

    Raises:
        NotFound: As ``find``; also where it was deleted while this waited for it.
    """
    query = _by_id(table).with_for_update()
    return _only(session, table, query, project_id, row_id)


def find_to_name(session: Session, table: type[Owned], project_id: str, row_id: str) -> Owned:
    """Read one row of a project and keep it from being deleted until the transaction ends.

    Others may change it meanwhile.

    Raises:
        NotFound: As ``find``; also where it was deleted while this waited for it.
    """
    query = _by_id(table).with_for_update(read=True, key_share=True)
    return _only(session, table, query, project_id, row_id)


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


def _by_id(table: type[Owned]) -> Select[Owned]:
    return cast("Select[Owned]", _built(table))


@cache
def _built(table: type[Owned]) -> Select[Any]:
    """Build the statement once: that takes longer than the database needs to answer it."""
    return (
        select(table)
        .where(table.project_id == bindparam(_PROJECT_ID), table.id == bindparam(_ROW_ID))
        .execution_options(populate_existing=True)
    )


def _only(
    session: Session, table: type[Owned], query: Select[Owned], project_id: str, row_id: str
) -> Owned:
    row = session.scalar(query, {_PROJECT_ID: project_id, _ROW_ID: row_id})
    if row is None:
        raise NotFound(f"this project has no {NAMES[table]} with that id")
    return row
