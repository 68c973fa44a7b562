"""Deletes what jobs and clients have left, but never what a job that has not ended relies on."""

from collections.abc import Iterable

from sqlalchemy import String, and_, cast, delete, or_, select, update
from sqlalchemy.orm import Session

from app.contracts.job import FINAL, JobSpec
from app.contracts.naming import parse
from app.contracts.references import named_files, named_models
from app.contracts.registry import DeletedFile, DeletedModel
from app.db import wishes
from app.db.blobs import note_released
from app.db.models import File, Job, JobFile, Knowledge, KnowledgeFile, Model
from app.db.registry import ModelAlias, ModelFile
from app.db.session import Database
from app.db.uploads import Upload
from app.errors import Conflict
from app.services import audit
from app.services.naming import find_model
from app.services.ownership import find_to_change, owned

MOST_NAMED = 5
"""Jobs or aliases that a message names."""


def delete_job(database: Database, project_id: str, job_id: str) -> None:
    """Delete a job with its events, metrics, logs, files and models.

    Raises:
        Conflict: The job has not ended, or one that has not names a model of it, or an alias
            stands for one.
    """
    with database.write() as session:
        job = find_to_change(session, Job, project_id, job_id)
        # Locked, so that no job that is being posted can come to name one of them meanwhile.
        of_job = select(Model.id).where(Model.job_id == job.id).order_by(Model.id)
        held = set(session.scalars(of_job.with_for_update()))
        users = _jobs_naming(session, project_id, held)
        if users:
            raise Conflict(f"a model of this job is named by {_listed(users)}; cancel or await it")
        _require_no_alias(session, held, "a model of this job")
        wishes.delete_job(session, job)
        audit.note(session, project_id, "job.delete", job_id)


def delete_model(database: Database, project_id: str, reference: str) -> DeletedModel:
    """Delete a model with its files, among those of its job too; what else the job has stays.

    Raises:
        Conflict: A job that has not ended names it, an alias stands for it, or it is named as what
            would be another model the next time.
    """
    with database.write() as session:
        found = find_model(session, project_id, reference)
        _require_lasting(reference, found)
        if found.job_id is not None:
            # First the job, as who deletes a job does.
            find_to_change(session, Job, project_id, found.job_id)
        model = find_to_change(session, Model, project_id, found.id)
        users = _jobs_naming(session, project_id, {model.id})
        if users:
            raise Conflict(f"this model is named by {_listed(users)}; cancel or await it")
        _require_no_alias(session, {model.id}, "this model")
        if model.job_id is not None:
            of_model = JobFile.path.startswith(f"{model.folder}/", autoescape=True)
            files = and_(JobFile.job_id == model.job_id, of_model)
            note_released(session, project_id, select(JobFile.sha256, JobFile.bytes).where(files))
            session.execute(delete(JobFile).where(files))
            wishes.forget_model(session, model.job_id)
        brought = ModelFile.model_id == model.id
        note_released(session, project_id, select(ModelFile.sha256, ModelFile.bytes).where(brought))
        session.execute(delete(ModelFile).where(brought))
        session.delete(model)
        audit.note(session, project_id, "model.delete", model.id)
        return DeletedModel(id=model.id)


def delete_knowledge(database: Database, project_id: str, knowledge_id: str) -> None:
    """Delete collected knowledge.

    Raises:
        Conflict: A job that has not ended names or uses it.
    """
    with database.write() as session:
        found = find_to_change(session, Knowledge, project_id, knowledge_id)
        users = session.scalars(
            select(Job.id).where(Job.knowledge_id == found.id, Job.status.not_in(FINAL))
        ).all()
        if users:
            raise Conflict(f"this knowledge is used by {_listed(users)}; cancel or await it")
        wishes.forget_knowledge(session, found.id)
        files = KnowledgeFile.knowledge_id == found.id
        blobs = select(KnowledgeFile.sha256, KnowledgeFile.bytes).where(files)
        note_released(session, project_id, blobs)
        session.execute(delete(KnowledgeFile).where(files))
        session.delete(found)
        audit.note(session, project_id, "knowledge.delete", knowledge_id)


def delete_file(database: Database, project_id: str, file_id: str) -> DeletedFile:
    """Delete an uploaded file; its bytes go when nothing else holds them, and count until then.

    Raises:
        Conflict: A job that has not ended names it.
    """
    with database.write() as session:
        file = find_to_change(session, File, project_id, file_id)
        users = _jobs_naming(session, project_id, {file_id})
        if users:
            raise Conflict(f"this file is named by {_listed(users)}; cancel or await it")
        session.execute(update(Upload).where(Upload.file_id == file_id).values(file_id=None))
        blob = select(File.sha256, File.bytes).where(File.id == file_id)
        note_released(session, project_id, blob)
        session.delete(file)
        audit.note(session, project_id, "file.delete", file_id)
    return DeletedFile(id=file_id)


def hold_named(session: Session, project_id: str, spec: JobSpec) -> None:
    """Keep the files, models and knowledge that a spec names until the transaction ends."""
    if files := named_files(spec):
        held = owned(File, project_id).where(File.id.in_(files)).order_by(File.id)
        session.execute(held.with_for_update(read=True))
    if models := named_models(spec):
        named = owned(Model, project_id).where(Model.id.in_(models.values())).order_by(Model.id)
        session.execute(named.with_for_update(read=True))
    if spec.teacher.source == "knowledge":
        knowledge = owned(Knowledge, project_id).where(Knowledge.id == spec.teacher.knowledge)
        session.execute(knowledge.with_for_update(read=True))


def _jobs_naming(session: Session, project_id: str, ids: set[str]) -> list[str]:
    """Return the jobs that have not ended and name one of some models or files."""
    if not ids:
        return []
    text = cast(Job.resolved_spec, String)
    candidates = session.scalars(
        owned(Job, project_id).where(
            Job.status.not_in(FINAL), or_(*(text.contains(one) for one in ids))
        )
    )
    return [job.id for job in candidates if ids & _named(job)]


def _named(job: Job) -> set[str]:
    spec = JobSpec.model_validate(job.resolved_spec)
    return {*named_models(spec).values(), *named_files(spec)}


def _require_lasting(reference: str, found: Model) -> None:
    """Refuse a name that moves: sent once more, as after a timeout, it would delete another."""
    parsed = parse(reference)
    if parsed is not None and parsed.version is None:
        raise Conflict(
            f"given {reference!r}, which is {found.id} now and another model once that is gone; "
            f"delete it by that id, or as {found.name}@{found.version}"
        )


def _require_no_alias(session: Session, models: set[str], what: str) -> None:
    """Refuse where an alias stands for one of some locked models; none can come to."""
    rows = session.scalars(select(ModelAlias).where(ModelAlias.model_id.in_(models)))
    aliases = [f"{row.name}@{row.alias}" for row in rows]
    if aliases:
        raise Conflict(f"{what} is what {_listed(aliases)} stands for; move or remove the alias")


def _listed(named: Iterable[str]) -> str:
    ids = sorted(named)
    more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
    return f"{', '.join(ids[:MOST_NAMED])}{more}"
