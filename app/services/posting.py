"""New jobs: as a client posts them, or made from an earlier one."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from opentelemetry.propagate import inject
from pydantic import ValidationError
from sqlalchemy.orm import Session
from structlog import get_logger
from uuid_utils import uuid7

from app.contracts.job import DesiredStatus, JobSpec, Status, ValidatedSpec
from app.contracts.references import named_models, with_models
from app.contracts.requests import Changes
from app.db import wishes
from app.db.models import Job
from app.db.session import Database
from app.errors import Conflict, InvalidPayload
from app.queue import Queue
from app.services import audit, quotas, specs
from app.services.deletion import hold_named
from app.services.explanations import explain
from app.services.idempotency import Answer, Repeatable, once
from app.services.jobs import views
from app.services.naming import resolve
from app.services.ownership import find_to_name
from app.services.surroundings import look_around

log = get_logger(__name__)

MAX_ATTEMPTS = 3
RETRIED = (Status.FAILED, Status.CANCELLED)


def validate(database: Database, project_id: str, spec: JobSpec) -> ValidatedSpec:
    """Check a spec as ``create`` would, and queue nothing."""
    with database.read() as session:
        resolved = resolve(session, project_id, spec)
        warnings = specs.check(session, project_id, resolved)
    return ValidatedSpec(resolved_spec=resolved.model_dump(mode="json"), warnings=warnings)


def create(
    database: Database,
    queue: Queue,
    project_id: str,
    spec: JobSpec,
    request: Repeatable | None = None,
) -> Answer:
    """Check a spec, queue its job, and ring once it is committed.

    Raises:
        QuotaExceeded: The project has as many jobs queued, or as much stored, as it may.
    """
    return create_planned(database, queue, project_id, lambda _session: spec, request)


def create_planned(
    database: Database,
    queue: Queue,
    project_id: str,
    plan: Callable[[Session], JobSpec],
    request: Repeatable | None = None,
) -> Answer:
    """Create a job of a spec that is made in its transaction, of what the project has then.

    A request that was answered before is not planned again.
    """

    def make(session: Session) -> str:
        return _queue(session, project_id, plan(session), "job.create")

    return _post(database, queue, project_id, request, make)


def retry(
    database: Database, queue: Queue, project_id: str, job_id: str, request: Repeatable | None
) -> Answer:
    """Queue a new job like one that has failed or was cancelled; it begins from the start.

    Raises:
        Conflict: The job has done neither.
        InvalidPayload: The spec does not work any more, as where its inputs are deleted.
    """

    def make(session: Session) -> str:
        parent = find_to_name(session, Job, project_id, job_id)
        if parent.status not in RETRIED:
            raise Conflict(
                f"the job is {parent.status}; only a failed or cancelled one can be retried, and "
                "any can be cloned"
            )
        return _queue(session, project_id, _spec_of(parent, {}), "job.retry", parent.id)

    return _post(database, queue, project_id, request, make)


def clone(
    database: Database,
    queue: Queue,
    project_id: str,
    job_id: str,
    changes: Changes,
    *,
    request: Repeatable | None,
) -> Answer:
    """Queue a new job like another, in whatever state that is, with a few changes.

    Raises:
        InvalidPayload: The spec does not work any more, as where its inputs are deleted.
    """

    def make(session: Session) -> str:
        parent = find_to_name(session, Job, project_id, job_id)
        spec = _spec_of(parent, changes.model_dump(exclude_unset=True))
        return _queue(session, project_id, spec, "job.clone", parent.id)

    return _post(database, queue, project_id, request, make)


def _post(
    database: Database,
    queue: Queue,
    project_id: str,
    request: Repeatable | None,
    make: Callable[[Session], str],
) -> Answer:
    with database.write() as session:
        answer = once(session, project_id, request, lambda: make(session))
    if not answer.is_replayed:
        log.info("job_posted", job_id=answer.made_id)
        queue.ring(answer.made_id)
    return answer


def _spec_of(parent: Job, changes: dict[str, Any]) -> JobSpec:
    """Read a job's spec as it was sent; an earlier version may have taken what this one does not.

    Models are those that the job had, whatever their names stand for by now.

    Raises:
        InvalidPayload: This version does not take it.
    """
    try:
        spec = JobSpec.model_validate({**parent.spec, **changes})
        return with_models(spec, named_models(JobSpec.model_validate(parent.resolved_spec)))
    except ValidationError as error:
        raise InvalidPayload(explain(JobSpec, error.errors())) from None


def _queue(
    session: Session,
    project_id: str,
    spec: JobSpec,
    action: audit.Action,
    parent_id: str | None = None,
) -> str:
    """Check a spec and add its job; return the job as JSON."""
    resolved = resolve(session, project_id, spec)
    hold_named(session, project_id, resolved)
    warnings = specs.check(session, project_id, resolved)
    around = look_around(session, project_id)
    quotas.require_room_to_queue(session, project_id, around)
    row = _new(project_id, spec, resolved, warnings, around.now)
    row.parent_id = parent_id
    wishes.create(session, row)
    audit.note(session, project_id, action, row.id)
    return views(session, [row], around)[0].model_dump_json()


def _new(project_id: str, sent: JobSpec, spec: JobSpec, warnings: list[str], now: datetime) -> Job:
    return Job(
        id=f"distjob-{uuid7()}",
        project_id=project_id,
        name=spec.name,
        spec=sent.model_dump(mode="json", exclude_unset=True),
        resolved_spec=spec.model_dump(mode="json"),
        labels=spec.metadata,
        priority=spec.priority,
        gpus=spec.resources.gpus,
        knowledge_id=spec.teacher.knowledge if spec.teacher.source == "knowledge" else None,
        status=Status.QUEUED,
        desired_status=DesiredStatus.RUNNING,
        kill_requested=False,
        version=1,
        num_events=1,
        fence=0,
        not_before=now,
        traceparent=_traceparent(),
        attempt=0,
        num_failures=0,
        num_losses=0,
        num_checkpoints=0,
        max_attempts=MAX_ATTEMPTS,
        created_at=now,
        queued_at=now,
        phases=[],
        latest_metrics={},
        warnings=warnings,
    )


def _traceparent() -> str | None:
    """Return the trace of the request, where requests are traced: attempts are a part of it."""
    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier.get("traceparent")
