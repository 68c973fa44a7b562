"""Teachers and students: list, read, edit, delete; each by its id or by its name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.contracts.job import FileEntry
from app.contracts.naming import Reference, parse
from app.contracts.registry import Model, Page
from app.contracts.requests import ModelEdit
from app.db.models import Job, JobFile
from app.db.models import Model as ModelRow
from app.db.registry import ModelAlias, ModelFile, next_version
from app.db.session import Database
from app.errors import Conflict, NotFound
from app.services.deletion import listed, unfinished_jobs_naming
from app.services.ownership import ends, find, find_to_change, newest, owned
from app.services.results import entry_of, files_of

Role = Literal["teacher", "student"]


@dataclass(frozen=True)
class Wanted:
    """Which models; None for all."""

    name: str | None = None
    role: Role | None = None


def list_models(
    database: Database, project_id: str, wanted: Wanted, after: str | None, limit: int
) -> Page[Model]:
    query = owned(ModelRow, project_id)
    if wanted.name is not None:
        query = query.where(ModelRow.name == wanted.name)
    if wanted.role is not None:
        query = query.where(ModelRow.role == wanted.role)
    with database.read() as session:
        rows, has_more = newest(session, query, ModelRow, after, limit)
        data = views(session, rows)
    return Page[Model](data=data, has_more=has_more, **ends([model.id for model in data]))


def read_model(database: Database, project_id: str, reference: str) -> Model:
    """Read a model by its id, `NAME`, `NAME@VERSION` or `NAME@ALIAS`."""
    with database.read() as session:
        return views(session, [find_model(session, project_id, parse(reference))])[0]


def read_model_file(database: Database, project_id: str, reference: str, path: str) -> FileEntry:
    """Read one file of a model; ``path`` is within the model's folder."""
    for file in read_model(database, project_id, reference).files:
        if file.path == path:
            return file
    raise NotFound("there is no file of that path here; the list of files has them all")


def edit_model(database: Database, project_id: str, reference: str, changes: ModelEdit) -> Model:
    """Change a model's description or metadata, or publish one that has no name yet.

    Raises:
        Conflict: It is to have another name than it has.
    """
    with database.write() as session:
        row = _find_to_change(session, project_id, reference)
        given = changes.model_fields_set
        if changes.name is not None and changes.name != row.name:
            _publish(session, row, changes.name)
        if "description" in given:
            row.description = changes.description
        if changes.metadata is not None:
            row.labels = changes.metadata
        return views(session, [row])[0]


def delete_model(database: Database, project_id: str, reference: str) -> str:
    """Delete a model with its files, of its job's too, and return its id.

    Raises:
        Conflict: An alias stands for it, or a job that has not ended names it.
    """
    with database.write() as session:
        row = _find_to_change(session, project_id, reference)
        aliases = session.scalars(
            select(ModelAlias.alias).where(ModelAlias.model_id == row.id)
        ).all()
        if aliases:
            raise Conflict(
                f"{', '.join(sorted(aliases))} of {row.name} stands for this version; move or "
                "remove the alias first"
            )
        users = unfinished_jobs_naming(session, project_id, {row.id})
        if users:
            raise Conflict(f"this model is named by {listed(users)}; cancel or await it")
        if row.job_id is not None:
            inside = JobFile.path.startswith(f"{row.folder}/", autoescape=True)
            session.execute(delete(JobFile).where(JobFile.job_id == row.job_id, inside))
        session.execute(delete(ModelFile).where(ModelFile.model_id == row.id))
        session.delete(row)
        return row.id


def find_model(session: Session, project_id: str, reference: Reference) -> ModelRow:
    """Read the one model that a reference is to.

    Raises:
        NotFound: The project has no such model, version or alias.
    """
    if reference.model_id is not None:
        return find(session, ModelRow, project_id, reference.model_id)
    query = owned(ModelRow, project_id).where(ModelRow.name == reference.name)
    if reference.version is not None:
        query = query.where(ModelRow.version == reference.version)
    elif reference.alias is not None:
        query = query.join(ModelAlias, ModelAlias.model_id == ModelRow.id).where(
            ModelAlias.alias == reference.alias
        )
    row = session.scalar(query.order_by(ModelRow.version.desc()).limit(1))
    if row is None:
        raise NotFound(
            "this project has no such model; expected its id, or NAME, NAME@VERSION or NAME@ALIAS"
        )
    return row


def views(session: Session, rows: Sequence[ModelRow]) -> list[Model]:
    """Show models with what other tables know of them, in a fixed number of queries."""
    ids = [row.id for row in rows]
    job_ids = [row.job_id for row in rows if row.job_id is not None]
    files = files_of(session, job_ids)
    uploaded: dict[str, list[FileEntry]] = {}
    for file in session.scalars(
        select(ModelFile).where(ModelFile.model_id.in_(ids)).order_by(ModelFile.path)
    ):
        uploaded.setdefault(file.model_id, []).append(entry_of(file, file.path))
    aliases: dict[str, list[str]] = {}
    for alias in session.scalars(
        select(ModelAlias).where(ModelAlias.model_id.in_(ids)).order_by(ModelAlias.alias)
    ):
        aliases.setdefault(alias.model_id, []).append(alias.alias)
    figures = _figures(session, job_ids)
    return [
        _view(
            row,
            aliases.get(row.id, []),
            figures.get(row.job_id or "", "accuracy"),
            uploaded.get(row.id) or _inside(f"{row.folder}/", files.get(row.job_id or "", [])),
        )
        for row in rows
    ]


def _find_to_change(session: Session, project_id: str, reference: str) -> ModelRow:
    found = find_model(session, project_id, parse(reference))
    return find_to_change(session, ModelRow, project_id, found.id)


def _publish(session: Session, row: ModelRow, name: str) -> None:
    if row.name is not None:
        raise Conflict(
            f"the model is version {row.version} of {row.name!r}, and stays so; only one without a "
            "name can be given one"
        )
    row.version = next_version(session, row.project_id, name)
    row.name = name


def _figures(session: Session, job_ids: Sequence[str]) -> dict[str, str]:
    """Return what the models of jobs were compared by."""
    rows = session.execute(select(Job.id, Job.result).where(Job.id.in_(job_ids)))
    return {job_id: (result or {}).get("compared_by", "accuracy") for job_id, result in rows}


def _inside(folder: str, files: list[FileEntry]) -> list[FileEntry]:
    return [
        file.model_copy(update={"path": file.path.removeprefix(folder)})
        for file in files
        if file.path.startswith(folder)
    ]


def _view(row: ModelRow, aliases: list[str], compared_by: str, files: list[FileEntry]) -> Model:
    return Model.model_validate(
        {
            "id": row.id,
            "name": row.name,
            "version": row.version,
            "aliases": aliases,
            "description": row.description,
            "metadata": row.labels,
            "role": row.role,
            "job_id": row.job_id,
            "architecture": row.architecture,
            "num_parameters": row.num_parameters,
            "test_quality": row.test_quality,
            "compared_by": compared_by,
            "files": files,
            "created_at": row.created_at,
        }
    )
