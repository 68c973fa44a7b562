"""Checkpoints: moments from which a job can go on, and the bytes that this takes."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Integer, Select, String, UniqueConstraint, delete
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.contracts.job import Phase
from app.db.table import Table


class Checkpoint(Table):
    """A moment from which a job can go on; ``number`` is of the job, from 1."""

    __tablename__ = "checkpoints"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    number: Mapped[int] = mapped_column(Integer)
    fence: Mapped[int] = mapped_column(BigInteger)
    phase: Mapped[str] = mapped_column(String(32))
    role: Mapped[str | None] = mapped_column(String(64))
    folder: Mapped[str | None] = mapped_column(String(255))
    step: Mapped[int | None] = mapped_column(BigInteger)
    epoch: Mapped[int | None] = mapped_column(Integer)
    metrics: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("job_id", "number"),)


class CheckpointFile(Table):
    """A file of the workspace, as it was at a checkpoint."""

    __tablename__ = "checkpoint_files"

    checkpoint_id: Mapped[str] = mapped_column(ForeignKey("checkpoints.id"), primary_key=True)
    path: Mapped[str] = mapped_column(String(255), primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64), index=True)


def forget(session: Session, ids: Select[str]) -> None:
    """Remove checkpoints; their bytes go when nothing else names them."""
    forgotten = session.scalars(ids).all()
    session.execute(delete(CheckpointFile).where(CheckpointFile.checkpoint_id.in_(forgotten)))
    session.execute(delete(Checkpoint).where(Checkpoint.id.in_(forgotten)))


def is_further(checkpoint: Checkpoint, before: Checkpoint | None) -> bool:
    """Say whether a job has come further than at the checkpoint before."""
    if before is None or checkpoint.phase != before.phase:
        order = list(Phase)
        return before is None or order.index(Phase(checkpoint.phase)) > order.index(
            Phase(before.phase)
        )
    if checkpoint.role == before.role and checkpoint.step is not None and before.step is not None:
        return checkpoint.step > before.step
    # Between two stages, or two models of one, there are no steps to compare.
    return before.role is not None
