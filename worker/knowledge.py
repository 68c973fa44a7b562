"""Knowledge between jobs: found before one collects it, published once one has."""

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import ValidationError
from sqlalchemy import ColumnElement, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from app.contracts.dataset import FileDataset
from app.contracts.job import JobSpec
from app.contracts.knowledge import MANIFEST_FILE, REUSED_FILE, KnowledgeManifest
from app.contracts.knowledge_request import Sources, TeacherDigests, is_shared, knowledge_request
from app.contracts.model import (
    Ensemble,
    KnowledgeTeacher,
    SignalsTeacher,
    TrainedTeacher,
)
from app.contracts.references import registered_teachers, teachers
from app.db import verbs
from app.db.models import Job, Knowledge, KnowledgeFile
from app.db.session import database_now
from app.storage import Storage
from worker.registry import MODEL_FILES, InputMissing, find_file, find_model

FOLDER = "knowledge"
"""Of a workspace: what the trainer has collected or taken over."""


class BadKnowledge(Exception):
    """The trainer says that it is done, and its knowledge is not what its manifest names."""


@dataclass(frozen=True)
class Collected:
    """What a trainer has collected, its files stored."""

    manifest: KnowledgeManifest
    files: list[KnowledgeFile]
    trained: dict[str, TeacherDigests]
    """Of the teachers that the job itself has trained, by their pointers in the spec."""


class Reused:
    """The trainer took over the knowledge that it was given."""


def hold_knowledge(session: Session, job: Job, spec: JobSpec) -> Knowledge | None:
    """Return the knowledge that a held job names, or that equals what it would collect.

    It is noted as used by the job, so that nobody deletes it while the job runs.

    Raises:
        InputMissing: The knowledge that the spec names is gone.
    """
    if isinstance(spec.teacher, KnowledgeTeacher):
        found = _locked(session, job.project_id, Knowledge.id == spec.teacher.knowledge)
        if found is None:
            raise InputMissing(f"the knowledge {spec.teacher.knowledge} is gone")
    else:
        request = _request_beforehand(session, job.project_id, spec)
        found = _locked(session, job.project_id, Knowledge.request_digest == request)
    verbs.use_knowledge(session, job, found.id if found else None)
    return found


def store_knowledge(storage: Storage, spec: JobSpec, workspace: Path) -> Collected | Reused | None:
    """Check and store what a trainer has collected for all; None where that is nothing.

    Raises:
        BadKnowledge: A file is missing, strange or not what the manifest says.
    """
    folder = workspace / FOLDER
    if (folder / REUSED_FILE).exists():
        return Reused()
    if not is_shared(spec) or not (folder / MANIFEST_FILE).is_file():
        return None
    try:
        manifest = KnowledgeManifest.model_validate_json((folder / MANIFEST_FILE).read_bytes())
    except ValidationError as error:
        raise BadKnowledge(f"its manifest cannot be read: {error}") from error
    files = [_store(storage, folder / MANIFEST_FILE)]
    for shard in manifest.shards:
        if PurePosixPath(shard.path).name != shard.path:
            raise BadKnowledge(f"the manifest names {shard.path!r}, which is no plain name")
        file = _store(storage, folder / shard.path)
        if file.sha256 != shard.sha256:
            raise BadKnowledge(f"{shard.path} does not have the sha256 {shard.sha256}")
        files.append(file)
    return Collected(manifest, files, _trained(spec, workspace))


def add_knowledge(
    session: Session, job: Job, spec: JobSpec, outcome: Collected | Reused | None
) -> None:
    """Publish what a held job has collected, unless equal knowledge is there, and note its use.

    It counts when the job's success is committed with it.
    """
    if isinstance(outcome, Reused):
        return
    knowledge_id = None if outcome is None else _published(session, job, spec, outcome)
    verbs.use_knowledge(session, job, knowledge_id)


def _published(session: Session, job: Job, spec: JobSpec, collected: Collected) -> str | None:
    sources = _sources(session, job.project_id, spec, collected.trained)
    request = knowledge_request(spec, sources, len(collected.manifest.output_names))
    which = Knowledge.request_digest == request
    row = _row(session, job, request, collected.manifest)
    try:
        with session.begin_nested():
            session.add(row)
            session.flush()
    except IntegrityError:
        there = _locked(session, job.project_id, which)
        assert there is not None  # noqa: S101 (what the database has just refused a second of)
        equal = there.fingerprint == collected.manifest.fingerprint.model_dump()
        return there.id if equal else None
    for file in collected.files:
        file.knowledge_id = row.id
        session.add(file)
    session.flush()
    return row.id


def _row(session: Session, job: Job, request: str, manifest: KnowledgeManifest) -> Knowledge:
    return Knowledge(
        id=f"knowledge-{uuid7()}",
        project_id=job.project_id,
        job_id=job.id,
        request_digest=request,
        fingerprint=manifest.fingerprint.model_dump(),
        task=manifest.task,
        output_names=manifest.output_names,
        storage=manifest.storage,
        top_k=manifest.top_k,
        layers=manifest.layers,
        views=manifest.views,
        num_train=manifest.num_train,
        num_held_out=manifest.num_held_out,
        bytes=manifest.bytes,
        created_at=database_now(session),
    )


def _request_beforehand(session: Session, project_id: str, spec: JobSpec) -> str | None:
    """Return the digest of what a job would collect; None where that takes a training first."""
    named = registered_teachers(spec)
    if not named or len(named) < len(teachers(spec)) or not is_shared(spec):
        return None
    first = find_model(session, project_id, next(iter(named.values())))
    sources = _sources(session, project_id, spec, {})
    return knowledge_request(spec, sources, first.num_outputs)


def _sources(
    session: Session, project_id: str, spec: JobSpec, trained: dict[str, TeacherDigests]
) -> Sources:
    data: dict[str, str] = {}
    signals = architecture = None
    digests = []
    for pointer, teacher in teachers(spec).items():
        if isinstance(teacher, TrainedTeacher):
            architecture = teacher.architecture
            digests.append(trained[pointer])
        else:
            model = find_model(session, project_id, teacher.model)
            architecture = model.architecture
            digests.append(TeacherDigests(*(model.files[name].sha256 for name in MODEL_FILES)))
    if isinstance(spec.dataset, FileDataset):
        data = {
            field: find_file(session, project_id, file_id).sha256
            for field, file_id in spec.dataset.files.items()
        }
    if isinstance(spec.teacher, SignalsTeacher):
        signals = find_file(session, project_id, spec.teacher.file).sha256
    return Sources(data, digests, signals, architecture if len(digests) == 1 else None)


def _locked(session: Session, project_id: str, which: ColumnElement[bool]) -> Knowledge | None:
    """Read knowledge and keep it from being deleted until the transaction ends."""
    query = select(Knowledge).where(Knowledge.project_id == project_id, which)
    return session.scalar(query.with_for_update(read=True))


def _trained(spec: JobSpec, workspace: Path) -> dict[str, TeacherDigests]:
    """Hash the teachers that were trained: what they are delivered as, and asked for later."""
    trained = {}
    for number, (pointer, teacher) in enumerate(teachers(spec).items()):
        folder = workspace / "teacher"
        if isinstance(spec.teacher, Ensemble):
            folder /= f"member-{number}"
        if isinstance(teacher, TrainedTeacher):
            trained[pointer] = TeacherDigests(*(_sha256(folder / name) for name in MODEL_FILES))
    return trained


def _store(storage: Storage, path: Path) -> KnowledgeFile:
    if path.is_symlink() or not path.is_file():
        raise BadKnowledge(f"{path.name} is missing or no plain file")
    return KnowledgeFile(path=path.name, bytes=path.stat().st_size, sha256=storage.put(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
