"""What an attempt delivers at its end: files, and the models made of them."""

import mimetypes
from pathlib import Path, PurePosixPath

from sqlalchemy.orm import Session
from uuid_utils import uuid7

from app.contracts.job import JobSpec
from app.contracts.message import Manifest, OutputFile
from app.contracts.model import AnyArchitecture, TrainedTeacher
from app.contracts.report import ModelReport, Report
from app.db.models import Job, JobFile, Model
from app.db.session import database_now
from app.storage import Storage

MEDIA_TYPES = {".md": "text/markdown", ".json": "application/json"}


class BadDelivery(Exception):
    """The trainer says that it is done, and its outputs are not what its manifest names."""


def store_outputs(storage: Storage, outputs: Path, below: str = "") -> list[JobFile]:
    """Check every output against the manifest, store it, and return the rows to be committed.

    ``below`` is put before their paths.

    Raises:
        BadDelivery: A file is missing, strange or not what the manifest says.
    """
    try:
        manifest = Manifest.model_validate_json((outputs / "manifest.json").read_bytes())
    except (OSError, ValueError) as error:
        raise BadDelivery(f"there is no readable manifest: {error}") from error
    return [_store(storage, outputs, file, below) for file in manifest.files]


def add_files(session: Session, job: Job, files: list[JobFile]) -> None:
    """Add a job's files; they count when its end is committed with them."""
    for file in files:
        file.job_id = job.id
        session.add(file)


def add_results(session: Session, job: Job, files: list[JobFile], report: Report) -> None:
    """Add a job's files and models; they count when the job's success is committed with them."""
    spec = JobSpec.model_validate(job.resolved_spec)
    add_files(session, job, files)
    session.add(_model(session, job, "student", spec.student.architecture, report.student))
    if isinstance(spec.teacher, TrainedTeacher):
        assert report.teacher is not None  # noqa: S101 (it was trained, so it was measured)
        session.add(_model(session, job, "teacher", spec.teacher.architecture, report.teacher))


def inside(folder: Path, named: str) -> Path:
    """Return where a file lies that a trainer names, which must be in ``folder`` and no link.

    Raises:
        BadDelivery: It is elsewhere.
    """
    relative = PurePosixPath(named)
    path = folder / relative
    leads_up = relative.is_absolute() or ".." in relative.parts
    if leads_up or path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()):
        raise BadDelivery(f"the manifest names {named!r}, which is not inside the folder")
    return path


def store_file(storage: Storage, folder: Path, file: OutputFile) -> Path:
    """Check a file of a folder against what is said of it, store it, and return where it lies.

    Raises:
        BadDelivery: It is missing, strange or another.
    """
    path = inside(folder, file.path)
    try:
        fits = path.is_file() and path.stat().st_size == file.bytes
        stored = storage.put(path) if fits else None
    except FileNotFoundError:
        stored = None
    if stored is None:
        raise BadDelivery(f"{file.path} is missing or does not have {file.bytes} bytes")
    if stored != file.sha256:
        raise BadDelivery(f"{file.path} does not have the sha256 {file.sha256}")
    return path


def _store(storage: Storage, outputs: Path, file: OutputFile, below: str) -> JobFile:
    path = store_file(storage, outputs, file)
    guessed = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    media_type = MEDIA_TYPES.get(path.suffix, guessed)
    return JobFile(
        path=below + file.path, bytes=file.bytes, sha256=file.sha256, media_type=media_type
    )


def _model(
    session: Session, job: Job, role: str, architecture: AnyArchitecture, report: ModelReport
) -> Model:
    assert report.num_parameters is not None  # noqa: S101 (only of known answers it is)
    return Model(
        id=f"model-{uuid7()}",
        project_id=job.project_id,
        job_id=job.id,
        role=role,
        folder=role,
        architecture=architecture.model_dump(),
        num_parameters=report.num_parameters,
        test_quality=report.test.quality,
        created_at=database_now(session),
    )
