"""Which jobs of a list are wanted; all that is given must hold."""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Select, exists, func, select

from app.contracts.job import Status
from app.db.models import Job


@dataclass(frozen=True)
class Filters:
    """Conditions on jobs; one that is empty or None holds for every job."""

    statuses: tuple[Status, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    name: str | None = None
    parent_id: str | None = None
    created_after: datetime | None = None
    """From this moment on."""
    created_before: datetime | None = None
    """Up to this moment, without it."""

    def apply(self, query: Select[Job], *, is_sqlite: bool) -> Select[Job]:
        if self.statuses:
            query = query.where(Job.status.in_(self.statuses))
        if self.name is not None:
            query = query.where(Job.name == self.name)
        if self.parent_id is not None:
            query = query.where(Job.parent_id == self.parent_id)
        if self.created_after is not None:
            query = query.where(Job.created_at >= self.created_after)
        if self.created_before is not None:
            query = query.where(Job.created_at < self.created_before)
        for key, value in self.metadata.items():
            # Not by a JSON path, where a key with quotes or dots is something else.
            pairs = (func.json_each if is_sqlite else func.json_each_text)(Job.labels)
            pair = pairs.table_valued("key", "value")
            is_there = select(pair.c.key).where(pair.c.key == key, pair.c.value == value)
            query = query.where(exists(is_there.correlate(Job)))
        return query
