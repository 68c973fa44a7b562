"""What an attempt needs from the service before it starts, and what it delivers at its end."""

import mimetypes
from pathlib import Path, PurePosixPath

from sqlalchemy import select
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from app.contracts.dataset import FileDataset
from app.contracts.job import JobSpec
from app.contracts.message import Manifest, OutputFile
from app.contracts.model import (
    AnyArchitecture,
    ModelInitialization,
    RegisteredTeacher,
    TrainedTeacher,
)
from app.contracts.report import ModelReport, Report
from app.db.models import File, Job, JobFile, Model
from app.db.session import Database, database_now
from app.storage import Storage

MEDIA_TYPES = {".md": "text/markdown", ".json": "application/json"}


class BadDelivery(Exception):
    """The trainer says that it is done, and its outputs are not what its manifest names."""


class InputMissing(Exception):
    """A file or model that the spec names is no longer there."""


def fetch_inputs(
    database: Database, storage: Storage, project_id: str, spec: JobSpec, workspace: Path
) -> None:
    """Put the file and the models that a spec names under ``workspace/inputs``.

    Raises:
        InputMissing: One of them is gone.
        ValueError: A blob is damaged.
    """
    with database.read() as session:
        wanted = _inputs(session, project_id, spec)
    for path, (sha256, size) in wanted.items():
        target = workspace / "inputs" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            storage.fetch(sha256, size, target)
        except FileNotFoundError as error:
            raise InputMissing(f"the stored bytes of {path} are gone") from error


def store_outputs(storage: Storage, outputs: Path) -> list[JobFile]:
    """Check every output against the manifest, store it, and return the rows to be committed.

    Raises:
        BadDelivery: A file is missing, strange or not what the manifest says.
    """
    try:
        manifest = Manifest.model_validate_json((outputs / "manifest.json").read_bytes())
    except (OSError, ValueError) as error:
        raise BadDelivery(f"there is no readable manifest: {error}") from error
    return [_store(storage, outputs, file) for file in manifest.files]


def add_results(session: Session, job: Job, files: list[JobFile], report: Report) -> None:
    """Add a job's files and models; they count when the job's success is committed with them."""
    spec = JobSpec.model_validate(job.resolved_spec)
    for file in files:
        file.job_id = job.id
        session.add(file)
    session.add(_model(session, job, "student", spec.student.architecture, report.student))
    if isinstance(spec.teacher, TrainedTeacher):
        session.add(_model(session, job, "teacher", spec.teacher.architecture, report.teacher))


def _inputs(session: Session, project_id: str, spec: JobSpec) -> dict[str, tuple[str, int]]:
    """Return the digest and size of each input by its path under `inputs`."""
    wanted: dict[str, tuple[str, int]] = {}
    if isinstance(spec.dataset, FileDataset):
        file = session.scalar(
            select(File).where(File.project_id == project_id, File.id == spec.dataset.file)
        )
        if file is None:
            raise InputMissing(f"the file {spec.dataset.file} is gone")
        wanted[file.id] = (file.sha256, file.bytes)
    for part in (spec.teacher, spec.student.initialize):
        if isinstance(part, RegisteredTeacher | ModelInitialization):
            wanted.update(_model_files(session, project_id, part.model))
    return wanted


def _model_files(session: Session, project_id: str, model_id: str) -> dict[str, tuple[str, int]]:
    model = session.scalar(
        select(Model).where(Model.project_id == project_id, Model.id == model_id)
    )
    if model is None:
        raise InputMissing(f"the model {model_id} is gone")
    paths = [f"{model.folder}/{name}" for name in ("config.json", "model.safetensors")]
    files = session.scalars(
        select(JobFile).where(JobFile.job_id == model.job_id, JobFile.path.in_(paths))
    ).all()
    if len(files) != len(paths):
        raise InputMissing(f"the model {model_id} was not exported as safetensors")
    return {f"{model_id}/{PurePosixPath(f.path).name}": (f.sha256, f.bytes) for f in files}


def _store(storage: Storage, outputs: Path, file: OutputFile) -> JobFile:
    relative = PurePosixPath(file.path)
    path = outputs / relative
    if path.is_symlink() or not path.resolve().is_relative_to(outputs.resolve()):
        raise BadDelivery(f"the manifest names {file.path!r}, which is not inside the outputs")
    if not path.is_file() or path.stat().st_size != file.bytes:
        raise BadDelivery(f"{file.path} is missing or does not have {file.bytes} bytes")
    if storage.put(path) != file.sha256:
        raise BadDelivery(f"{file.path} does not have the sha256 {file.sha256}")
    guessed = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    media_type = MEDIA_TYPES.get(path.suffix, guessed)
    return JobFile(path=file.path, bytes=file.bytes, sha256=file.sha256, media_type=media_type)


def _model(
    session: Session, job: Job, role: str, architecture: AnyArchitecture, report: ModelReport
) -> Model:
    return Model(
        id=f"model-{uuid7()}",
        project_id=job.project_id,
        job_id=job.id,
        role=role,
        folder=role,
        architecture=architecture.model_dump(),
        num_parameters=report.num_parameters,
        test_accuracy=report.test.accuracy,
        created_at=database_now(session),
    )
