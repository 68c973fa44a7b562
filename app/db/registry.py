"""The tables of the registry: models' names, versions and aliases, and files of clients' own."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Integer, String, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.contracts.naming import LONGEST_ALIAS, LONGEST_NAME, published_name
from app.db.models import Job, JobFile, Model
from app.db.table import Table
from app.entity_tags import digest_of

COMMIT_DIGITS = 40


class ModelSeries(Table):
    """A name that models of a project have; it outlives them, so that no number is used twice."""

    __tablename__ = "model_series"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(LONGEST_NAME), primary_key=True)
    newest_version: Mapped[int] = mapped_column(Integer)
    num_moves: Mapped[int] = mapped_column(BigInteger)


class ModelAlias(Table):
    """A word that stands for one version of a name."""

    __tablename__ = "model_aliases"

    project_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(LONGEST_NAME), primary_key=True)
    alias: Mapped[str] = mapped_column(String(LONGEST_ALIAS), primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), index=True)
    move: Mapped[int] = mapped_column(BigInteger)
    """Which of all moves of the name's aliases was its last; no two are the same."""
    updated_at: Mapped[datetime]

    __table_args__ = (
        ForeignKeyConstraint(
            ["project_id", "name"], ["model_series.project_id", "model_series.name"]
        ),
    )


class ModelFile(Table):
    """A file of a model that a client brought."""

    __tablename__ = "model_files"

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    path: Mapped[str] = mapped_column(String(255), primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    media_type: Mapped[str] = mapped_column(String(128))


def number_models(session: Session, job: Job) -> None:
    """Make the models of a job the newest versions of their names, where the job has a name."""
    models = session.scalars(select(Model).where(Model.job_id == job.id)).all()
    files = session.scalars(select(JobFile).where(JobFile.job_id == job.id)).all()
    for model in models:
        folder = f"{model.folder}/"
        inside = [file for file in files if file.path.startswith(folder)]
        model.commit_id = commit_of({f.path.removeprefix(folder): f.sha256 for f in inside})
    named = {published_name(job.name, model.role): model for model in models}
    # In the order of the alphabet, so that no two jobs wait for each other's names.
    for name in sorted(name for name in named if name is not None):
        number_model(session, named[name], name)


def number_model(session: Session, model: Model, name: str) -> None:
    """Make a model the newest version of a name."""
    series = hold_series(session, model.project_id, name)
    series.newest_version += 1
    model.name, model.version = name, series.newest_version


def commit_of(files: Mapping[str, str]) -> str:
    """Return what stands for the files of a model, by their paths, as a commit does."""
    return digest_of(sorted(files.items()))[:COMMIT_DIGITS]


def hold_series(session: Session, project_id: str, name: str) -> ModelSeries:
    """Lock a name, made where it is new: its versions and moves of its aliases come in turn."""
    identity = {"project_id": project_id, "name": name}
    dialect = session.get_bind().dialect.name
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    new = insert(ModelSeries).values(**identity, newest_version=0, num_moves=0)
    session.execute(new.on_conflict_do_nothing())
    return session.get_one(
        ModelSeries, (project_id, name), with_for_update=True, populate_existing=True
    )
