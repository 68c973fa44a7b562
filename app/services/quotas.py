"""What projects use of their quotas, and the refusal of what would be too much."""

from sqlalchemy import Subquery, func, select, union
from sqlalchemy.orm import Session

from app.contracts.job import Status
from app.contracts.projects import Quotas, Usage, UsageOf
from app.db.blobs import UnnamedBlob, note_coming
from app.db.models import File, Job, JobFile, Knowledge, KnowledgeFile, Model
from app.db.quotas import Quota, QuotaName, count_jobs
from app.db.registry import ModelFile
from app.db.session import Database
from app.db.uploads import Upload, UploadPart
from app.errors import QuotaExceeded
from app.services.content import Content
from app.services.ownership import owned
from app.services.surroundings import Surroundings

RETRY_AFTER_SECONDS = 60

MAKE_ROOM = (
    "delete files, models, jobs or knowledge, whose bytes count until they are collected, about a "
    "day after they came, or ask an administrator for more"
)


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


def require_room_to_queue(session: Session, project_id: str, around: Surroundings) -> None:
    """Keep others from queueing jobs of a project until the transaction ends, if it may have more.

    Raises:
        QuotaExceeded: It has as many queued, or as much stored, as it may.
    """
    if around.most_queued_jobs is not None:
        most = _lock(session, project_id, QuotaName.QUEUED_JOBS)
        queued = count_jobs(session, project_id, Status.QUEUED)
        if most is not None and queued >= most:
            raise _exceeded(
                f"{queued} jobs of this project are queued, and {most} may be; wait until one has "
                "begun, cancel one, or ask an administrator for more"
            )
    most = around.most_stored_bytes
    if most is not None and (stored := _stored_bytes(session, project_id)) >= most:
        raise _exceeded(
            f"this project has {stored} bytes stored, and may have {most}, so that there is no "
            f"room for what a job would make; {MAKE_ROOM}"
        )


def most_stored(database: Database, project_id: str) -> int | None:
    """Return how many bytes a project may have stored in all; None where there is no limit."""
    with database.read() as session:
        return quotas_of(session, [project_id])[project_id].stored_bytes


def require_size(session: Session, project_id: str, size: int) -> None:
    """Refuse bytes that are more than a project may have in all, before any of them has come.

    Raises:
        QuotaExceeded: They are.
    """
    most = quotas_of(session, [project_id])[project_id].stored_bytes
    if most is not None and size > most:
        raise over_all(most)


def over_all(most: int) -> QuotaExceeded:
    """Say that an upload has more bytes than a project may have in all."""
    return _exceeded(
        f"the upload has more than the {most} bytes that this project may have stored in all; send "
        "less, or ask an administrator for more"
    )


def reserve(session: Session, project_id: str, content: Content, replaced_bytes: int = 0) -> None:
    """As ``require_room_to_store``, and count the bytes from now on, before they are stored.

    ``replaced_bytes`` are stored already and go when these are there; of several that replace the
    same, each may count on them. What is reserved counts
    until a row names it, or until the collector sees that none does and the bytes are gone.

    Raises:
        QuotaExceeded: The project would have more stored than it may.
    """
    most = _lock(session, project_id, QuotaName.STORED_BYTES)
    if most is not None:
        if not _has_stored(session, project_id, content.sha256):
            _require_room(session, project_id, content.size, most, replaced_bytes)
        note_coming(session, project_id, content.sha256, content.size)


def require_room_to_store(session: Session, project_id: str, content: Content) -> None:
    """Keep others from storing files of a project until the transaction ends, if it may have more.

    Bytes that the project has already, under whatever name, are free.

    Raises:
        QuotaExceeded: It would have more stored than it may.
    """
    most = _lock(session, project_id, QuotaName.STORED_BYTES)
    if most is not None and not _has_stored(session, project_id, content.sha256):
        _require_room(session, project_id, content.size, most)


def require_room_for_part(session: Session, project_id: str, size: int) -> None:
    """As ``require_room_to_store``; of a part nothing is free, as each upload keeps its own.

    Raises:
        QuotaExceeded: The project would have more stored than it may.
    """
    most = _lock(session, project_id, QuotaName.STORED_BYTES)
    if most is not None:
        _require_room(session, project_id, size, most)


def _lock(session: Session, project_id: str, name: QuotaName) -> int | None:
    query = select(Quota.most).where(Quota.project_id == project_id, Quota.name == name)
    return session.scalar(query.with_for_update())


def _require_room(
    session: Session, project_id: str, size: int, most: int, replaced_bytes: int = 0
) -> None:
    stored = _stored_bytes(session, project_id)
    if stored + size - replaced_bytes > most:
        raise _exceeded(
            f"this project has {stored} bytes stored and may have {most}; the upload has {size}; "
            f"{MAKE_ROOM}"
        )


def _stored_bytes(session: Session, project_id: str) -> int:
    parts = owned(Upload, project_id).join(UploadPart, UploadPart.upload_id == Upload.id)
    kinds = [_blobs(project_id), parts.with_only_columns(UploadPart.bytes).subquery()]
    sums = [select(func.coalesce(func.sum(kind.c.bytes), 0)) for kind in kinds]
    return sum(int(session.scalars(one).one()) for one in sums)


def _has_stored(session: Session, project_id: str, sha256: str) -> bool:
    blobs = _blobs(project_id)
    return session.scalar(select(blobs.c.sha256).where(blobs.c.sha256 == sha256)) is not None


def _blobs(project_id: str) -> Subquery:
    """Select digest and size of all that a project has stored, but for parts of uploads."""
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
        select(UnnamedBlob.sha256, UnnamedBlob.bytes).where(UnnamedBlob.project_id == project_id),
    ).subquery()


def _exceeded(message: str) -> QuotaExceeded:
    return QuotaExceeded(message, retry_after_seconds=RETRY_AFTER_SECONDS)
