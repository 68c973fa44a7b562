"""Requests that were refused for their key: counted, and written to the audit log now and then.

A row for each would let any stranger fill the database.
"""

import threading
from collections import Counter
from dataclasses import dataclass, replace

from sqlalchemy.exc import SQLAlchemyError
from structlog import get_logger
from uuid_utils import uuid7

from app.db.audit import AuditEntry
from app.db.session import Database, database_now

log = get_logger(__name__)

MOST_KINDS = 1000
"""That are told apart between two writes; further addresses are counted together."""


@dataclass(frozen=True)
class Refusal:
    """Whom a request was refused, as far as that is known, and the error's code."""

    code: str
    project_id: str | None
    key_id: str | None
    address: str | None


class Refusals:
    """Counts of one process; safe to share between threads."""

    def __init__(self) -> None:
        self._counts: Counter[Refusal] = Counter()
        self._lock = threading.Lock()

    def count(self, refusal: Refusal) -> None:
        with self._lock:
            if refusal not in self._counts and len(self._counts) >= MOST_KINDS:
                refusal = replace(refusal, address=None, key_id=None, project_id=None)
            self._counts[refusal] += 1

    def write(self, database: Database) -> None:
        """Write what was counted, a row for each kind; kept for the next time where that fails."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            with database.write() as session:
                now = database_now(session)
                session.add_all(
                    AuditEntry(
                        id=f"audit-{uuid7()}",
                        project_id=refusal.project_id,
                        key_id=refusal.key_id,
                        action=refusal.code,
                        address=refusal.address,
                        outcome="refused",
                        count=count,
                        created_at=now,
                    )
                    for refusal, count in counts.items()
                )
        except SQLAlchemyError as error:
            log.warning("refusals_not_written", reason=type(error).__name__)
            with self._lock:
                self._counts += counts
