"""The tables of the registry: names with their versions, aliases, and models that were uploaded."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Integer, String
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.db.table import Table


class ModelSeries(Table):
    """A name that models of a project have; it outlives them, so that no number is used twice."""

    __tablename__ = "model_series"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(96), primary_key=True)
    newest_version: Mapped[int] = mapped_column(Integer)
    num_moves: Mapped[int] = mapped_column(BigInteger)


class ModelAlias(Table):
    """A word that stands for one version of a name."""

    __tablename__ = "model_aliases"

    project_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(96), primary_key=True)
    alias: Mapped[str] = mapped_column(String(63), primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), index=True)
    move: Mapped[int] = mapped_column(BigInteger)
    updated_at: Mapped[datetime]

    __table_args__ = (
        ForeignKeyConstraint(
            ["project_id", "name"], ["model_series.project_id", "model_series.name"]
        ),
    )


class ModelFile(Table):
    """A file of a model that was uploaded; those of others are their job's."""

    __tablename__ = "model_files"

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    path: Mapped[str] = mapped_column(String(255), primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    media_type: Mapped[str] = mapped_column(String(128))


def hold_series(session: Session, project_id: str, name: str) -> ModelSeries:
    """Lock a name, made where it is new: who adds a version or moves an alias of it comes in turn."""
    identity = {"project_id": project_id, "name": name}
    dialect = session.get_bind().dialect.name
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    new = insert(ModelSeries).values(**identity, newest_version=0, num_moves=0)
    session.execute(new.on_conflict_do_nothing())
    return session.get_one(
        ModelSeries, (project_id, name), with_for_update=True, populate_existing=True
    )


def next_version(session: Session, project_id: str, name: str) -> int:
    """Take the next number of a name; of those who race each gets their own."""
    series = hold_series(session, project_id, name)
    series.newest_version += 1
    return series.newest_version
