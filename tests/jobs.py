"""Jobs in a database, without the API that posts them."""

from uuid_utils import uuid7

from app.contracts.job import DesiredStatus, JobSpec, Status
from app.db import verbs, wishes
from app.db.models import Job
from app.db.session import Database, database_now

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
