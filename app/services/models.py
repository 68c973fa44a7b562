"""Teachers and students, a job's or a client's own: list, read, edit; each by its id or name."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contracts.dataset import Task
from app.contracts.job import FileEntry
from app.contracts.registry import Model, Page
from app.contracts.report import Quality
from app.contracts.requests import ModelEdit
from app.db.models import Job
from app.db.models import Model as ModelRow
from app.db.registry import ModelFile
from app.db.session import Database
from app.entity_tags import ANY, named
from app.errors import NotFound, PreconditionFailed
from app.services import audit
from app.services.naming import aliases_of, find_model
from app.services.ownership import ends, find_to_change, newest, owned
from app.services.results import entry_of, files_of

COMPARED_BY: Mapping[Task, Quality] = {
    "classification": "accuracy",
    "multi_label": "macro_f1",
    "regression": "r2",
}


@dataclass(frozen=True)
class Wanted:
    """Which models; None for all."""

    name: str | None = None
    role: Literal["teacher", "student"] | None = None


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
    """Read a model by its id or name, as ``find_model``."""
    with database.read() as session:
        return views(session, [find_model(session, project_id, reference)])[0]


def read_model_file(database: Database, project_id: str, reference: str, path: str) -> FileEntry:
    """Read one file of a model; ``path`` is within the model's folder."""
    for file in read_model(database, project_id, reference).files:
        if file.path == path:
            return file
    raise NotFound("there is no file of that path here; the list of files has them all")


def edit_model(
    database: Database, project_id: str, reference: str, changes: ModelEdit, if_match: str | None
) -> Model:
    """Change a model's description or metadata; only where its entity tag is still the given one.

    Raises:
        PreconditionFailed: The model has changed since the client read it.
    """
    with database.write() as session:
        found = find_model(session, project_id, reference)
        row = find_to_change(session, ModelRow, project_id, found.id)
        tag = entity_tag(views(session, [row])[0])
        if if_match is not None and named(if_match).isdisjoint({ANY, tag}):
            raise PreconditionFailed(
                f"given If-Match: {if_match}; the model's entity tag is {tag} by now; read it "
                "again and see whether the change is still wanted"
            )
        if "description" in changes.model_fields_set:
            row.description = changes.description
        if "metadata" in changes.model_fields_set:
            row.labels = changes.metadata
        session.flush()
        audit.note(session, project_id, "model.update", row.id)
        return views(session, [row])[0]


def entity_tag(model: Model) -> str:
    """Give the strong entity tag of a model as it is shown."""
    return f'"{hashlib.sha256(model.model_dump_json().encode()).hexdigest()[:32]}"'


def views(session: Session, rows: Sequence[ModelRow]) -> list[Model]:
    """Show models with what other tables know of them, in a fixed number of queries."""
    ids = [row.id for row in rows]
    made_by = {row.job_id for row in rows if row.job_id is not None}
    files = files_of(session, [*made_by])
    jobs = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(made_by)))}
    brought = _files_of_clients(session, ids)
    aliases = aliases_of(session, ids)
    return [
        _view(
            row,
            _inside(row, files) if row.job_id is not None else brought.get(row.id, []),
            aliases.get(row.id, []),
            jobs.get(row.job_id or ""),
        )
        for row in rows
    ]


def _files_of_clients(session: Session, ids: Sequence[str]) -> dict[str, list[FileEntry]]:
    files: dict[str, list[FileEntry]] = {}
    query = select(ModelFile).where(ModelFile.model_id.in_(ids)).order_by(ModelFile.path)
    for row in session.scalars(query):
        files.setdefault(row.model_id, []).append(entry_of(row, row.path))
    return files


def _inside(row: ModelRow, files: Mapping[str, list[FileEntry]]) -> list[FileEntry]:
    """Return those of a job's files that are the model's, by their paths in its folder."""
    folder = f"{row.folder}/"
    return [
        file.model_copy(update={"path": file.path.removeprefix(folder)})
        for file in files.get(row.job_id or "", [])
        if file.path.startswith(folder)
    ]


def _view(row: ModelRow, files: list[FileEntry], aliases: list[str], job: Job | None) -> Model:
    if row.signature is not None:
        compared_by = COMPARED_BY[row.signature["task"]]
    else:
        compared_by = ((job and job.result) or {}).get("compared_by", "accuracy")
    return Model.model_validate(
        {
            "id": row.id,
            "name": row.name,
            "version": row.version,
            "aliases": aliases,
            "role": row.role,
            "description": row.description,
            "metadata": row.labels,
            "job_id": row.job_id,
            "architecture": row.architecture,
            "num_parameters": row.num_parameters,
            "test_quality": row.test_quality,
            "compared_by": compared_by,
            "files": files,
            "created_at": row.created_at,
            "created": int(row.created_at.timestamp()),
            "owned_by": row.project_id,
        }
    )
