"""Requests that a client may send again: done once, and answered the same each time."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db.models import IdempotencyKey
from app.db.session import Database, database_now
from app.errors import KeyReused

KEPT_FOR = timedelta(hours=24)
MOST_ROUTE = 128
"""Characters of a path; a longer one names no job, so nothing is ever kept under a part of it."""


@dataclass(frozen=True)
class Repeatable:
    """A request with an ``Idempotency-Key``."""

    path: str
    key: str
    body_digest: str
    """The sha256 of the body, byte for byte."""


@dataclass(frozen=True)
class Answer:
    """What a request for a new job or model is answered with."""

    content: str
    """The job or model as JSON, as it was when it was made."""
    is_replayed: bool

    @cached_property
    def made_id(self) -> str:
        return str(json.loads(self.content)["id"])


def once(
    session: Session, project_id: str, request: Repeatable | None, make: Callable[[], str]
) -> Answer:
    """Answer with what ``make`` gives, or with what it gave to the same request before.

    The answer is kept in the transaction that makes what it tells of. Of requests that race, one
    makes; the others wait for its end.

    Raises:
        KeyReused: The key came with another body before.
    """
    if request is None:
        return Answer(make(), is_replayed=False)
    identity = (project_id, request.path[:MOST_ROUTE], request.key)
    kept = session.get(IdempotencyKey, identity)
    if kept is None:
        row = _row(session, identity, request.body_digest)
        try:
            with session.begin_nested():
                session.add(row)
        except IntegrityError:
            kept = session.get_one(IdempotencyKey, identity)
        else:
            row.answer = make()
            return Answer(row.answer, is_replayed=False)
    return _replayed(kept, request)


def find_answer(session: Session, project_id: str, request: Repeatable | None) -> Answer | None:
    """Return the answer to the same request before, where there was one.

    For what takes long before ``once`` can be asked, and would be in vain.

    Raises:
        KeyReused: The key came with another body before.
    """
    if request is None:
        return None
    kept = session.get(IdempotencyKey, (project_id, request.path[:MOST_ROUTE], request.key))
    return None if kept is None else _replayed(kept, request)


def forget_old(database: Database) -> None:
    """Remove the answers that have been kept for long enough."""
    with database.write() as session:
        old = IdempotencyKey.created_at < database_now(session) - KEPT_FOR
        session.execute(delete(IdempotencyKey).where(old))


def _replayed(kept: IdempotencyKey, request: Repeatable) -> Answer:
    if kept.body_digest != request.body_digest:
        raise KeyReused(
            f"the key {request.key[:80]!r} came with another body before; send that again, or "
            "take a new key",
            param="Idempotency-Key",
        )
    return Answer(kept.answer, is_replayed=True)


def _row(session: Session, identity: tuple[str, str, str], body_digest: str) -> IdempotencyKey:
    project_id, route, key = identity
    return IdempotencyKey(
        project_id=project_id,
        route=route,
        key=key,
        body_digest=body_digest,
        # Known once the job is made; a racing request has to find the key taken before.
        answer="",
        created_at=database_now(session),
    )
