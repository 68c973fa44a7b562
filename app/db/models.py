"""The tables. A job's row changes only through ``lifecycle.py``."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.contracts.job import FINAL, DesiredStatus, Status
from app.contracts.naming import LONGEST_NAME
from app.db.table import Table, one_of


class Project(Table):
    """Whose jobs, files, models and keys; nothing is seen across projects."""

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    created_at: Mapped[datetime]


class ApiKey(Table):
    """A key, kept as a keyed hash; the secret itself is shown once and nowhere stored."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    digest: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[Any]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class File(Table):
    """An uploaded file; its bytes are the blob of its digest."""

    __tablename__ = "files"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    filename: Mapped[str] = mapped_column(String(255))
    purpose: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    media_type: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime]

    __table_args__ = (Index(None, "project_id", "id"),)


class Job(Table):
    """A job and all that is known of it now."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    knowledge_id: Mapped[str | None] = mapped_column(ForeignKey("knowledge.id"), index=True)
    traceparent: Mapped[str | None] = mapped_column(String(64))
    name: Mapped[str | None] = mapped_column(String(200))
    spec: Mapped[dict[str, Any]]
    resolved_spec: Mapped[dict[str, Any]]
    # `metadata` is SQLAlchemy's own name on a table class.
    labels: Mapped[dict[str, Any]] = mapped_column("metadata")
    priority: Mapped[int] = mapped_column(Integer)
    gpus: Mapped[int | None] = mapped_column(Integer)

    status: Mapped[Status] = mapped_column(String(16))
    desired_status: Mapped[DesiredStatus] = mapped_column(String(16))
    kill_requested: Mapped[bool] = mapped_column(default=False)
    version: Mapped[int] = mapped_column(Integer)
    num_events: Mapped[int] = mapped_column(Integer)

    fence: Mapped[int] = mapped_column(BigInteger)
    lease_until: Mapped[datetime | None]
    worker_id: Mapped[str | None] = mapped_column(String(64))
    not_before: Mapped[datetime]
    attempt: Mapped[int] = mapped_column(Integer)
    num_failures: Mapped[int] = mapped_column(Integer)
    num_losses: Mapped[int] = mapped_column(Integer)
    num_checkpoints: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    max_attempts: Mapped[int] = mapped_column(Integer)

    created_at: Mapped[datetime]
    queued_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    phase: Mapped[str | None] = mapped_column(String(32))
    phases: Mapped[list[Any]]
    progress: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    latest_metrics: Mapped[dict[str, Any]]
    warnings: Mapped[list[Any]]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))

    __table_args__ = (
        CheckConstraint(one_of("status", list(Status)), "status"),
        CheckConstraint(one_of("desired_status", list(DesiredStatus)), "desired_status"),
        CheckConstraint("(status = 'running') = (lease_until IS NOT NULL)", "lease"),
        CheckConstraint("(status = 'running') = (worker_id IS NOT NULL)", "holder"),
        CheckConstraint(
            f"({one_of('status', list(FINAL))}) = (finished_at IS NOT NULL)", "finished"
        ),
        CheckConstraint("(status = 'succeeded') = (result IS NOT NULL)", "result"),
        CheckConstraint("(status = 'failed') = (error IS NOT NULL)", "error"),
        CheckConstraint("status <> 'succeeded' OR desired_status <> 'cancelled'", "not_cancelled"),
        CheckConstraint(
            "(status <> 'queued' OR desired_status = 'running') AND "
            "(status <> 'paused' OR desired_status = 'paused') AND "
            "(status <> 'cancelled' OR desired_status = 'cancelled')",
            "wishes",
        ),
        CheckConstraint("fence >= attempt AND attempt >= 0 AND version >= 1", "counters"),
        Index(None, "project_id", "id"),
        Index(None, "status", "priority", "queued_at", "id"),
        Index(None, "status", "lease_until"),
    )


class JobEvent(Table):
    """One change of a job, written in the transaction that makes it."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    fence: Mapped[int] = mapped_column(BigInteger)
    type: Mapped[str] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class JobMetric(Table):
    """One value of one series, measured by one attempt."""

    __tablename__ = "job_metrics"

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    fence: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str] = mapped_column(String(200))
    step: Mapped[int] = mapped_column(BigInteger)
    value: Mapped[float]
    created_at: Mapped[datetime]

    __table_args__ = (Index(None, "job_id", "fence", "name", "step"),)


class JobLog(Table):
    """A piece of what a trainer printed, in the order of ``number`` from 1."""

    __tablename__ = "job_logs"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    fence: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    text: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class JobFile(Table):
    """A file that a job has delivered."""

    __tablename__ = "job_files"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    path: Mapped[str] = mapped_column(String(255), primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    media_type: Mapped[str] = mapped_column(String(128))


class IdempotencyKey(Table):
    """The answer to a request that its client may send again; written with what it made."""

    __tablename__ = "idempotency_keys"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    route: Mapped[str] = mapped_column(String(128), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_digest: Mapped[str] = mapped_column(String(64))
    answer: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(index=True)


class Model(Table):
    """A teacher or student: a job's, with the job's files under ``folder``, or a client's own."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    role: Mapped[str] = mapped_column(String(16))
    folder: Mapped[str | None] = mapped_column(String(64))
    name: Mapped[str | None] = mapped_column(String(LONGEST_NAME))
    version: Mapped[int | None] = mapped_column(Integer)
    """Of its name, from 1; both are given when its job succeeds."""
    commit_id: Mapped[str | None] = mapped_column(String(40))
    """Stands for its files, to clients of the Hugging Face Hub; given at that moment too."""
    architecture: Mapped[dict[str, Any]]
    signature: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """What a client's own takes and answers; of a job's model, the job tells."""
    num_parameters: Mapped[int] = mapped_column(BigInteger)
    test_quality: Mapped[float | None]
    description: Mapped[str | None] = mapped_column(Text)
    labels: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict, server_default="{}")
    created_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("job_id", "role"),
        CheckConstraint(one_of("role", ["teacher", "student"]), "role"),
        CheckConstraint(
            "(job_id IS NULL) = (signature IS NOT NULL) AND (job_id IS NULL) = (folder IS NULL) "
            "AND (job_id IS NULL) = (test_quality IS NULL)",
            "origin",
        ),
        Index(None, "project_id", "id"),
        Index(None, "project_id", "name", "version", unique=True),
        Index(None, "project_id", "commit_id"),
    )


class Knowledge(Table):
    """What a teacher knows of a dataset, collected once for all jobs of a project."""

    __tablename__ = "knowledge"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    # No foreign key: it outlives the job that collected it, and jobs refer to knowledge.
    job_id: Mapped[str | None] = mapped_column(String(64), index=True)
    request_digest: Mapped[str] = mapped_column(String(64))
    fingerprint: Mapped[dict[str, Any]]
    task: Mapped[str] = mapped_column(String(32))
    output_names: Mapped[list[Any]]
    storage: Mapped[str] = mapped_column(String(16))
    top_k: Mapped[int | None] = mapped_column(Integer)
    layers: Mapped[dict[str, Any]]
    views: Mapped[int] = mapped_column(Integer)
    num_train: Mapped[int] = mapped_column(BigInteger)
    num_held_out: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("project_id", "request_digest"),
        Index(None, "project_id", "id"),
    )


class KnowledgeFile(Table):
    """The manifest of some knowledge, or one of its shards."""

    __tablename__ = "knowledge_files"

    knowledge_id: Mapped[str] = mapped_column(ForeignKey("knowledge.id"), primary_key=True)
    path: Mapped[str] = mapped_column(String(255), primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64), index=True)


class Worker(Table):
    """A worker process that has lately said it is there."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    hostname: Mapped[str] = mapped_column(String(255))
    gpus: Mapped[int] = mapped_column(Integer)
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime] = mapped_column(index=True)
