"""Who changed what: written in the transaction of each change, and never altered after."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.table import Table, one_of


class AuditEntry(Table):
    """One change, or ``count`` refused requests of one caller for one reason."""

    __tablename__ = "audit_entries"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    # Of a request without a key that is known, there is no project.
    project_id: Mapped[str | None] = mapped_column(ForeignKey("projects.id"))
    # No foreign key: it is what was shown, and outlives all else.
    key_id: Mapped[str | None] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    target_id: Mapped[str | None] = mapped_column(String(160))
    request_id: Mapped[str | None] = mapped_column(String(128))
    address: Mapped[str | None] = mapped_column(String(64))
    outcome: Mapped[str] = mapped_column(String(16))
    count: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(index=True)

    __table_args__ = (
        CheckConstraint(one_of("outcome", ["done", "refused"]), "outcome"),
        CheckConstraint("count >= 1", "count"),
        Index(None, "project_id", "id"),
    )
