"""Jobs in a database, without the API that posts them."""

import tempfile
from pathlib import Path

from uuid_utils import uuid7

from app.contracts.job import DesiredStatus, JobSpec, Status
from app.db import verbs, wishes
from app.db.checkpoints import Checkpoint, CheckpointFile
from app.db.models import Job
from app.db.session import Database, database_now
from app.storage import Storage

PROJECT_ID = "project-1"
SPEC = JobSpec.model_validate(
    {
        "dataset": {"source": "builtin", "name": "digits"},
        "teacher": {"source": "train", "architecture": {"name": "mlp"}},
        "student": {"architecture": {"name": "mlp"}},
    }
)


def queued(
    database: Database,
    *,
    priority: int = 0,
    gpus: int | None = None,
    spec: JobSpec = SPEC,
    project_id: str = PROJECT_ID,
) -> str:
    """Add a queued job and return its id."""
    with database.write() as session:
        now = database_now(session)
        job = Job(
            id=f"distjob-{uuid7()}",
            project_id=project_id,
            spec={},
            resolved_spec=spec.model_dump(mode="json"),
            labels={},
            priority=priority,
            gpus=gpus,
            status=Status.QUEUED,
            desired_status=DesiredStatus.RUNNING,
            version=1,
            num_events=1,
            fence=0,
            not_before=now,
            attempt=0,
            num_failures=0,
            num_losses=0,
            max_attempts=3,
            created_at=now,
            queued_at=now,
            phases=[],
            latest_metrics={},
            warnings=[],
        )
        wishes.create(session, job)
        return job.id


def claimed(database: Database, lease_seconds: float = 60, gpus: int = 0) -> Job:
    with database.write() as session:
        job = verbs.claim(session, "worker-1", gpus, lease_seconds)
    assert job is not None
    return job


def put_checkpoint(
    database: Database, storage: Storage, job_id: str, path: str, content: str
) -> str:
    """Add a checkpoint of a student, with one file, and return its id."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(content)
        file.flush()
        digest = storage.put(Path(file.name))
    with database.write() as session:
        row = Checkpoint(
            id=f"checkpoint-{uuid7()}",
            job_id=job_id,
            number=1,
            fence=1,
            phase="training_student",
            folder="student",
            metrics={},
            created_at=database_now(session),
        )
        session.add(row)
        session.flush()
        session.add(
            CheckpointFile(checkpoint_id=row.id, path=path, bytes=len(content), sha256=digest)
        )
        return row.id
