"""Puts into an attempt's workspace what the spec names, and knowledge that may spare a teacher."""

import shutil
from collections.abc import Callable
from pathlib import Path

from obstore.exceptions import BaseError
from sqlalchemy.orm import Session
from structlog import get_logger

from app.contracts.job import JobSpec
from app.contracts.model import KnowledgeTeacher
from app.contracts.references import named_files, named_models
from app.db import verbs
from app.db.models import Job
from app.db.session import Database
from app.storage import Storage
from worker.knowledge import hold_knowledge
from worker.registry import InputMissing, Inputs, find_file, find_model, knowledge_files

log = get_logger(__name__)

OFFERED = "knowledge"
"""The folder in which the trainer looks for knowledge that may be what it would collect."""


def fetch_inputs(
    database: Database,
    storage: Storage,
    job: Job,
    spec: JobSpec,
    workspace: Path,
    check: Callable[[], None],
) -> None:
    """Put all that a spec names under ``workspace/inputs``; knowledge is held for this job.

    Knowledge that equals what the job would collect comes into `inputs/knowledge`: the trainer
    decides whether it really does. ``check`` is called now and then and may raise what it likes.

    Raises:
        InputMissing: Something that the spec names is gone.
        FenceLost: The job is another attempt's.
        ValueError: A blob is damaged.
    """
    optional: Inputs = {}
    with database.write() as session:
        held = verbs.hold(session, job.id, job.fence)
        wanted = _named(session, job.project_id, spec)
        knowledge = hold_knowledge(session, held, spec)
        if knowledge is not None and isinstance(spec.teacher, KnowledgeTeacher):
            wanted |= _inside(knowledge.id, knowledge_files(session, knowledge.id))
        elif knowledge is not None:
            optional = knowledge_files(session, knowledge.id)
    for path, file in wanted.items():
        target = _target(workspace, path)
        try:
            storage.fetch(file.sha256, file.bytes, target, check)
        except FileNotFoundError as error:
            raise InputMissing(f"the stored bytes of {path} are gone") from error
    _offer(storage, optional, workspace, check)


def _offer(storage: Storage, files: Inputs, workspace: Path, check: Callable[[], None]) -> None:
    """Fetch knowledge that is not needed: without it the trainer asks the teacher again."""
    try:
        for path, file in files.items():
            storage.fetch(file.sha256, file.bytes, _target(workspace, f"{OFFERED}/{path}"), check)
    except (OSError, ValueError, BaseError) as error:
        log.warning("knowledge_not_offered", reason=str(error))
        shutil.rmtree(workspace / "inputs" / OFFERED)


def _target(workspace: Path, path: str) -> Path:
    target = workspace / "inputs" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _named(session: Session, project_id: str, spec: JobSpec) -> Inputs:
    """Return each file that a spec names, and of each model, by its path under `inputs`."""
    wanted = {file_id: find_file(session, project_id, file_id) for file_id in named_files(spec)}
    for model_id in named_models(spec).values():
        wanted |= _inside(model_id, find_model(session, project_id, model_id).files)
    return wanted


def _inside(folder: str, files: Inputs) -> Inputs:
    return {f"{folder}/{name}": file for name, file in files.items()}
