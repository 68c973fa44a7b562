"""A job's checkpoints, and of each the model that was in training, to look at and take away."""

import mimetypes
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contracts.job import Checkpoint, FileEntry
from app.contracts.registry import Page
from app.db.checkpoints import Checkpoint as CheckpointRow
from app.db.checkpoints import CheckpointFile
from app.db.models import Job
from app.db.session import Database
from app.errors import NotFound
from app.services.ownership import ends, find


def list_checkpoints(
    database: Database, project_id: str, job_id: str, after: str | None, limit: int
) -> Page[Checkpoint]:
    """List the checkpoints of a job that are kept, newest first."""
    with database.read() as session:
        job = find(session, Job, project_id, job_id)
        rows = session.scalars(
            select(CheckpointRow)
            .where(CheckpointRow.job_id == job.id)
            .order_by(CheckpointRow.number.desc())
        ).all()
        # Ids are in the order of time, and the one of the page before may be gone by now.
        rest = [one for one in _views(session, rows) if after is None or one.id < after]
    data = rest[:limit]
    has_more = len(rest) > limit
    return Page[Checkpoint](data=data, has_more=has_more, **ends([one.id for one in data]))


def read_checkpoint_file(
    database: Database, project_id: str, job_id: str, checkpoint_id: str, path: str
) -> FileEntry:
    """Read one file of the model that was in training at a checkpoint.

    Raises:
        NotFound: There is no such job, checkpoint or file, or the file is not of that model.
    """
    with database.read() as session:
        job = find(session, Job, project_id, job_id)
        of_job = CheckpointRow.job_id == job.id
        checkpoint = session.scalar(
            select(CheckpointRow).where(of_job, CheckpointRow.id == checkpoint_id)
        )
        if checkpoint is None:
            raise NotFound("this job has no checkpoint with that id; only its newest are kept")
        files = _views(session, [checkpoint])[0].files
    for file in files:
        if file.path == path:
            return file
    raise NotFound("there is no file of that path here; the list of checkpoints has them all")


def _views(session: Session, rows: Sequence[CheckpointRow]) -> list[Checkpoint]:
    files: dict[str, list[CheckpointFile]] = {row.id: [] for row in rows}
    for file in session.scalars(
        select(CheckpointFile)
        .where(CheckpointFile.checkpoint_id.in_(files))
        .order_by(CheckpointFile.path)
    ):
        files[file.checkpoint_id].append(file)
    return [_view(row, files[row.id]) for row in rows]


def _view(row: CheckpointRow, files: list[CheckpointFile]) -> Checkpoint:
    # What lies elsewhere was left by earlier stages: a job needs it to go on, and nobody else.
    folder = None if row.folder is None else f"{row.folder}/"
    names = Checkpoint.model_fields.keys() & set(CheckpointRow.__table__.columns.keys())
    return Checkpoint.model_validate(
        {
            **{name: getattr(row, name) for name in names},
            "files": [
                FileEntry(
                    path=file.path.removeprefix(folder),
                    bytes=file.bytes,
                    sha256=file.sha256,
                    media_type=mimetypes.guess_type(file.path)[0] or "application/octet-stream",
                )
                for file in files
                if folder is not None and file.path.startswith(folder)
            ],
        }
    )
