"""What projects use of their quotas, and the refusal of what would be too much."""

from sqlalchemy import Subquery, func, select, union
from sqlalchemy.orm import Session

from app.contracts.job import Status
from app.contracts.projects import Quotas, Usage, UsageOf
from app.db.models import File, Job, JobFile, Knowledge, KnowledgeFile, Model
from app.db.quotas import Quota, QuotaName, count_jobs
from app.db.registry import ModelFile
from app.db.session import Database
from app.db.uploads import Upload, UploadPart
from app.errors import QuotaExceeded
from app.services.ownership import owned

RETRY_AFTER_SECONDS = 60


def read_usage(database: Database, project_id: str) -> Usage:
    """Read what a project uses now, and how much it may."""
    with database.read() as session:
        return usage_of(session, project_id)


def usage_of(session: Session, project_id: str) -> Usage:
    most = quotas_of(session, [project_id])[project_id]
    return Usage(
        project_id=project_id,
        queued_jobs=UsageOf(
            used=count_jobs(session, project_id, Status.QUEUED), most=most.queued_jobs
        ),
        running_jobs=UsageOf(
            used=count_jobs(session, project_id, Status.RUNNING), most=most.running_jobs
        ),
        stored_bytes=UsageOf(used=_stored_bytes(session, project_id), most=most.stored_bytes),
    )


def quotas_of(session: Session, project_ids: list[str]) -> dict[str, Quotas]:
    most: dict[str, dict[str, int]] = {project_id: {} for project_id in project_ids}
    query = select(Quota.project_id, Quota.name, Quota.most)
    for project_id, name, number in session.execute(query.where(Quota.project_id.in_(project_ids))):
        most[project_id][name] = number
    return {project_id: Quotas.model_validate(named) for project_id, named in most.items()}


def set_quotas(session: Session, project_id: str, changes: Quotas) -> None:
    """Set the quotas that are given, and lift those that are given as None."""
    for name in changes.model_fields_set:
        most: int | None = getattr(changes, name)
        row = session.get(Quota, (project_id, QuotaName(name)), with_for_update=True)
        if most is None:
            if row is not None:
                session.delete(row)
        elif row is None:
            session.add(Quota(project_id=project_id, name=QuotaName(name), most=most))
        else:
            row.most = most
    session.flush()


def require_room_to_queue(session: Session, project_id: str) -> None:
    """Keep others from queueing jobs of a project until the transaction ends, if it may have more.

    Raises:
        QuotaExceeded: It has as many queued, or as much stored, as it may.
    """
    limits = quotas_of(session, [project_id])[project_id]
    if limits.queued_jobs is not None:
        most = _lock(session, project_id, QuotaName.QUEUED_JOBS)
        queued = count_jobs(session, project_id, Status.QUEUED)
        if most is not None and queued >= most:
            raise _exceeded(
                f"{queued} jobs of this project are queued, and {most} may be; wait until one has "
                "begun, cancel one, or ask an administrator for more"
            )
    most = limits.stored_bytes
    if most is not None and (stored := _stored_bytes(session, project_id)) >= most:
        raise _exceeded(
            f"this project has {stored} bytes stored, and may have {most}, so that there is no "
            "room for what a job would make; delete jobs or knowledge, or ask an administrator "
            "for more"
        )


def require_room_to_store(session: Session, project_id: str, size: int, sha256: str) -> None:
    """Keep others from storing files of a project until the transaction ends, if it may have more.

    ``size`` is in bytes; bytes that the project has already, under whatever name, are free.

    Raises:
        QuotaExceeded: It would have more stored than it may.
    """
    most = _lock(session, project_id, QuotaName.STORED_BYTES)
    if most is None:
        return
    stored = _stored_bytes(session, project_id)
    if stored + size > most and not _has_stored(session, project_id, sha256):
        raise _exceeded(
            f"this project has {stored} bytes stored and may have {most}; the upload has {size}; "
            "delete jobs or knowledge, or ask an administrator for more"
        )


def _lock(session: Session, project_id: str, name: QuotaName) -> int | None:
    query = select(Quota.most).where(Quota.project_id == project_id, Quota.name == name)
    return session.scalar(query.with_for_update())


def _stored_bytes(session: Session, project_id: str) -> int:
    blobs = _blobs(project_id)
    return int(session.scalars(select(func.coalesce(func.sum(blobs.c.bytes), 0))).one())


def _has_stored(session: Session, project_id: str, sha256: str) -> bool:
    blobs = _blobs(project_id)
    return session.scalar(select(blobs.c.sha256).where(blobs.c.sha256 == sha256)) is not None


def _blobs(project_id: str) -> Subquery:
    """Select digest and size of all that a project has stored."""
    # A union is without duplicates: however many names a blob has, it counts once.
    return union(
        owned(File, project_id).with_only_columns(File.sha256, File.bytes),
        owned(Job, project_id)
        .join(JobFile, JobFile.job_id == Job.id)
        .with_only_columns(JobFile.sha256, JobFile.bytes),
        owned(Model, project_id)
        .join(ModelFile, ModelFile.model_id == Model.id)
        .with_only_columns(ModelFile.sha256, ModelFile.bytes),
        owned(Knowledge, project_id)
        .join(KnowledgeFile, KnowledgeFile.knowledge_id == Knowledge.id)
        .with_only_columns(KnowledgeFile.sha256, KnowledgeFile.bytes),
        owned(Upload, project_id)
        .join(UploadPart, UploadPart.upload_id == Upload.id)
        .with_only_columns(UploadPart.sha256, UploadPart.bytes),
    ).subquery()


def _exceeded(message: str) -> QuotaExceeded:
    return QuotaExceeded(message, retry_after_seconds=RETRY_AFTER_SECONDS)
