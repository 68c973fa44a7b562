"""Finds the stored bytes of what specs name: uploaded files, registered models, knowledge."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contracts.model import AnyArchitecture
from app.db.models import File, Job, JobFile, KnowledgeFile, Model
from app.db.registry import ModelFile

MODEL_FILES = ("config.json", "model.safetensors")
"""What a model is loaded from."""
_ARCHITECTURE: TypeAdapter[AnyArchitecture] = TypeAdapter(AnyArchitecture)


class InputMissing(Exception):
    """A file, model or knowledge that the spec names is no longer there."""


@dataclass(frozen=True)
class StoredFile:
    """The bytes of an input."""

    sha256: str
    bytes: int


Inputs = dict[str, StoredFile]
"""By path."""


@dataclass(frozen=True)
class StoredModel:
    """A registered model."""

    architecture: AnyArchitecture
    num_outputs: int
    files: Inputs
    """Those of ``MODEL_FILES``, by name."""


def find_file(session: Session, project_id: str, file_id: str) -> StoredFile:
    """Raises InputMissing where the project has no such file."""
    file = session.scalar(select(File).where(File.project_id == project_id, File.id == file_id))
    if file is None:
        raise InputMissing(f"the file {file_id} is gone")
    return StoredFile(file.sha256, file.bytes)


def find_model(session: Session, project_id: str, model_id: str) -> StoredModel:
    """Raises InputMissing where the project has no such model, or not its weights."""
    model = session.scalar(
        select(Model).where(Model.project_id == project_id, Model.id == model_id)
    )
    if model is None:
        raise InputMissing(f"the model {model_id} is gone")
    files = _files_of(session, model)
    if len(files) != len(MODEL_FILES):
        raise InputMissing(f"the model {model_id} was not exported as safetensors")
    # Of a job's model, its job tells.
    told = model.signature or session.get_one(Job, model.job_id).result or {}
    return StoredModel(
        architecture=_ARCHITECTURE.validate_python(model.architecture),
        num_outputs=len(told["output_names"]),
        files={PurePosixPath(f.path).name: StoredFile(f.sha256, f.bytes) for f in files},
    )


def knowledge_files(session: Session, knowledge_id: str) -> Inputs:
    rows = session.scalars(select(KnowledgeFile).where(KnowledgeFile.knowledge_id == knowledge_id))
    return {row.path: StoredFile(row.sha256, row.bytes) for row in rows}


def _files_of(session: Session, model: Model) -> Sequence[JobFile | ModelFile]:
    if model.job_id is None:
        own = ModelFile.model_id == model.id, ModelFile.path.in_(MODEL_FILES)
        return session.scalars(select(ModelFile).where(*own)).all()
    paths = [f"{model.folder}/{name}" for name in MODEL_FILES]
    of_job = JobFile.job_id == model.job_id, JobFile.path.in_(paths)
    return session.scalars(select(JobFile).where(*of_job)).all()
