"""Which rows name blobs, and blobs that lie in storage, or are about to, while none does."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Select, String, delete, func, literal, select, union
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.db.checkpoints import CheckpointFile
from app.db.models import File, JobFile, KnowledgeFile
from app.db.registry import ModelFile
from app.db.session import database_now
from app.db.table import Table, UtcDateTime

NAMING = (File, JobFile, ModelFile, KnowledgeFile, CheckpointFile)
"""The tables whose rows name blobs."""


class UnnamedBlob(Table):
    """A blob that a project is about to name, or does not name any more.

    Its bytes take room, and so they count as the project's.
    """

    __tablename__ = "unnamed_blobs"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True, index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    noted_at: Mapped[datetime]


def named_of(session: Session, digests: Collection[str]) -> set[str]:
    """Return those of some blobs that a row names."""
    names = [select(table.sha256).where(table.sha256.in_(digests)) for table in NAMING]
    return set(session.scalars(union(*names)))


def note_coming(session: Session, project_id: str, sha256: str, size: int) -> None:
    """Note a blob of ``size`` bytes that is about to be stored."""
    note_released(session, project_id, select(literal(sha256), literal(size, BigInteger())))


def note_released(session: Session, project_id: str, blobs: Select[str, int]) -> None:
    """Note the blobs, each a digest and a size, of rows that are about to be deleted."""
    sha256, size = blobs.subquery().c
    now = literal(database_now(session), UtcDateTime())
    # One row a blob, and in one order, so that no two transactions wait for each other's.
    rows = select(literal(project_id), sha256, func.max(size), now).group_by(sha256)
    dialect = session.get_bind().dialect.name
    insert = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(UnnamedBlob)
    columns = [column.name for column in UnnamedBlob.__table__.columns]
    added = insert.from_select(columns, rows.order_by(sha256))
    session.execute(
        added.on_conflict_do_update(
            index_elements=["project_id", "sha256"], set_={"noted_at": insert.excluded.noted_at}
        )
    )


def forget_unnamed(session: Session, project_id: str, sha256: str) -> None:
    """Forget a blob, as there is a row now that names it."""
    session.execute(
        delete(UnnamedBlob).where(
            UnnamedBlob.project_id == project_id, UnnamedBlob.sha256 == sha256
        )
    )
