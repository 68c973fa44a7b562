"""What jobs have delivered: their files and report."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contracts.job import FileEntry, Status
from app.contracts.registry import Page
from app.db.models import Job, JobFile
from app.db.registry import ModelFile
from app.db.session import Database
from app.errors import Conflict, NotFound
from app.services.ownership import ends, find
from app.storage import Storage


def list_job_files(database: Database, project_id: str, job_id: str) -> Page[FileEntry]:
    """List all files of a job, by path."""
    with database.read() as session:
        job = find(session, Job, project_id, job_id)
        data = files_of(session, [job.id]).get(job.id, [])
    return Page[FileEntry](data=data, has_more=False, **ends([file.path for file in data]))


def read_job_file(database: Database, project_id: str, job_id: str, path: str) -> FileEntry:
    with database.read() as session:
        job = find(session, Job, project_id, job_id)
        return entry_of(_row(session, job.id, path), path)


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


def files_of(session: Session, job_ids: Sequence[str]) -> dict[str, list[FileEntry]]:
    """Read the files of jobs, each job's by path."""
    files: dict[str, list[FileEntry]] = {}
    rows = session.scalars(
        select(JobFile).where(JobFile.job_id.in_(job_ids)).order_by(JobFile.path)
    )
    for row in rows:
        files.setdefault(row.job_id, []).append(entry_of(row, row.path))
    return files


def entry_of(row: JobFile | ModelFile, path: str) -> FileEntry:
    return FileEntry(path=path, bytes=row.bytes, sha256=row.sha256, media_type=row.media_type)


def _row(session: Session, job_id: str, path: str) -> JobFile:
    row = session.get(JobFile, (job_id, path))
    if row is None:
        raise NotFound("there is no file of that path here; the list of files has them all")
    return row
