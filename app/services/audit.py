"""The audit log: who changed what, noted in the transaction that changes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import ColumnElement, delete, insert, select
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from app.contracts.audit import AuditEntry, Outcome
from app.contracts.registry import Page
from app.db.audit import AuditEntry as AuditEntryRow
from app.db.session import Database, DatabaseClock, database_now
from app.services.ownership import ends, newest, owned

Action = Literal[
    "job.create",
    "job.update",
    "job.retry",
    "job.clone",
    "job.cancel",
    "job.pause",
    "job.resume",
    "job.delete",
    "file.create",
    "model.create",
    "model.update",
    "model.delete",
    "model_alias.move",
    "model_alias.remove",
    "file.delete",
    "upload.create",
    "upload.part",
    "upload.complete",
    "upload.cancel",
    "knowledge.delete",
    "api_key.create",
    "api_key.revoke",
    "project.create",
    "project.update",
    "webhook.create",
    "webhook.update",
    "webhook.delete",
    "webhook.rotate",
    "webhook.test",
    "webhook.redeliver",
]


@dataclass
class Caller:
    """Whose request is being served; the key is filled in once it is recognised."""

    request_id: str
    address: str | None
    key_id: str | None = None
    project_id: str | None = None


@dataclass(frozen=True)
class Wanted:
    """Which entries; both moments are meant."""

    action: str | None = None
    key_id: str | None = None
    target_id: str | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None


# Built once, and not an object of the session: every change of anything writes one.
NOTE = insert(AuditEntryRow.core()).values(outcome="done", count=1, created_at=DatabaseClock())

# One object for a whole request: what one of its threads notes in it, the others see.
_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


@contextmanager
def acting(caller: Caller) -> Iterator[None]:
    """Let all that is noted while the block runs be this caller's."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


def recognise(key_id: str, project_id: str) -> None:
    """Note whose key the present request shows."""
    caller = _caller.get()
    if caller is not None:
        caller.key_id, caller.project_id = key_id, project_id


def note(session: Session, project_id: str, action: Action, target_id: str) -> None:
    """Note a change in the transaction that makes it; outside of a request it is an operator's."""
    caller = _caller.get()
    entry = {
        "id": f"audit-{uuid7()}",
        "project_id": project_id,
        "key_id": caller and caller.key_id,
        "action": action,
        "target_id": target_id,
        "request_id": caller and caller.request_id,
        "address": caller and caller.address,
    }
    session.connection().execute(NOTE, entry)


def list_entries(
    database: Database, project_id: str, wanted: Wanted, after: str | None, limit: int
) -> Page[AuditEntry]:
    """List a project's entries, newest first."""
    query = owned(AuditEntryRow, project_id).where(*_conditions(wanted))
    with database.read() as session:
        rows, has_more = newest(session, query, AuditEntryRow, after, limit)
    return _page(rows, has_more=has_more)


def list_all(database: Database, wanted: Wanted, after: str | None, limit: int) -> Page[AuditEntry]:
    """List the entries of all projects and of none, newest first; for who may manage projects."""
    query = select(AuditEntryRow).where(*_conditions(wanted))
    with database.read() as session:
        rows, has_more = newest(session, query, AuditEntryRow, after, limit)
    return _page(rows, has_more=has_more)


def forget_old(database: Database, days: int) -> None:
    """Remove the entries that have been kept for long enough."""
    with database.write() as session:
        old = AuditEntryRow.created_at < database_now(session) - timedelta(days=days)
        session.execute(delete(AuditEntryRow).where(old))


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    row = AuditEntryRow
    conditions = [
        column == value
        for column, value in (
            (row.action, wanted.action),
            (row.key_id, wanted.key_id),
            (row.target_id, wanted.target_id),
            (row.outcome, wanted.outcome),
        )
        if value is not None
    ]
    if wanted.since is not None:
        conditions.append(row.created_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(row.created_at <= wanted.until)
    return conditions


def _page(rows: list[AuditEntryRow], *, has_more: bool) -> Page[AuditEntry]:
    data = [AuditEntry.model_validate(row, from_attributes=True) for row in rows]
    return Page[AuditEntry](data=data, has_more=has_more, **ends([entry.id for entry in data]))
