"""What jobs have delivered: their files and report, and the models made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contracts.job import FileEntry, Status
from app.contracts.registry import Model, Page
from app.db.models import Job, JobFile
from app.db.models import Model as ModelRow
from app.db.session import Database
from app.errors import Conflict, NotFound
from app.services.naming import aliases_of, find_model
from app.services.ownership import ends, find, newest, owned
from app.storage import Storage


@dataclass(frozen=True)
class Wanted:
    """Which models; None for all."""

    name: str | None = None
    role: Literal["teacher", "student"] | None = None


def list_job_files(database: Database, project_id: str, job_id: str) -> Page[FileEntry]:
    """List all files of a job, by path."""
    with database.read() as session:
        job = find(session, Job, project_id, job_id)
        data = files_of(session, [job.id]).get(job.id, [])
    return Page[FileEntry](data=data, has_more=False, **ends([file.path for file in data]))


def read_job_file(database: Database, project_id: str, job_id: str, path: str) -> FileEntry:
    with database.read() as session:
        job = find(session, Job, project_id, job_id)
        return _entry(_row(session, job.id, path), path)


def read_report(
    database: Database, storage: Storage, project_id: str, job_id: str, path: str
) -> bytes:
    """Read a form of a job's report, by its path among the job's files.

    Raises:
        Conflict: The job has not succeeded, so there is no report.
    """
    with database.read() as session:
        job = find(session, Job, project_id, job_id)
        if job.status != Status.SUCCEEDED:
            raise Conflict(f"the job is {job.status}; it has a report once it has succeeded")
        file = _row(session, job.id, path)
        sha256, size = file.sha256, file.bytes
    return b"".join(storage.read(sha256, 0, size))


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
        data = _views(session, rows)
    return Page[Model](data=data, has_more=has_more, **ends([model.id for model in data]))


def read_model(database: Database, project_id: str, named: str) -> Model:
    """Read a model by its id or name, as ``find_model``."""
    with database.read() as session:
        return _views(session, [find_model(session, project_id, named)])[0]


def read_model_file(database: Database, project_id: str, named: str, path: str) -> FileEntry:
    """Read one file of a model; ``path`` is within the model's folder."""
    with database.read() as session:
        model = find_model(session, project_id, named)
        return _entry(_row(session, model.job_id, f"{model.folder}/{path}"), path)


def files_of(session: Session, job_ids: Sequence[str]) -> dict[str, list[FileEntry]]:
    """Read the files of jobs, each job's by path."""
    files: dict[str, list[FileEntry]] = {}
    rows = session.scalars(
        select(JobFile).where(JobFile.job_id.in_(job_ids)).order_by(JobFile.path)
    )
    for row in rows:
        files.setdefault(row.job_id, []).append(_entry(row, row.path))
    return files


def _row(session: Session, job_id: str, path: str) -> JobFile:
    row = session.get(JobFile, (job_id, path))
    if row is None:
        raise NotFound("there is no file of that path here; the list of files has them all")
    return row


def _entry(row: JobFile, path: str) -> FileEntry:
    return FileEntry(path=path, bytes=row.bytes, sha256=row.sha256, media_type=row.media_type)


def _views(session: Session, rows: Sequence[ModelRow]) -> list[Model]:
    job_ids = [row.job_id for row in rows]
    files = files_of(session, job_ids)
    jobs = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(job_ids)))}
    aliases = aliases_of(session, [row.id for row in rows])
    return [
        _view(row, jobs[row.job_id], files.get(row.job_id, []), aliases.get(row.id, []))
        for row in rows
    ]


def _view(row: ModelRow, job: Job, files: list[FileEntry], aliases: list[str]) -> Model:
    folder = f"{row.folder}/"
    inside = [
        file.model_copy(update={"path": file.path.removeprefix(folder)})
        for file in files
        if file.path.startswith(folder)
    ]
    return Model.model_validate(
        {
            "id": row.id,
            "name": row.name,
            "version": row.version,
            "aliases": aliases,
            "role": row.role,
            "job_id": row.job_id,
            "architecture": row.architecture,
            "num_parameters": row.num_parameters,
            "test_quality": row.test_quality,
            "compared_by": (job.result or {}).get("compared_by", "accuracy"),
            "files": inside,
            "created_at": row.created_at,
            "created": int(row.created_at.timestamp()),
            "owned_by": row.project_id,
        }
    )
