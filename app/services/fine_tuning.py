"""The jobs of a project as OpenAI's clients ask for them: each call is a native one, translated."""

from dataclasses import replace

from pydantic import JsonValue

from app.contracts.fine_tuning import (
    FineTuningCheckpoint,
    FineTuningEvent,
    FineTuningJob,
    ResultFile,
)
from app.contracts.fine_tuning_request import FineTuningRequest
from app.contracts.job import Checkpoint, Job, JobEvent
from app.contracts.registry import Page
from app.db.session import Database
from app.errors import InvalidPayload
from app.queue import Queue
from app.services import checkpoints, history, jobs, posting, results
from app.services.filters import Filters
from app.services.fine_tuning_jobs import as_fine_tuning, result_file_id
from app.services.fine_tuning_specs import as_sent, to_spec
from app.services.idempotency import Repeatable

LEVELS: dict[str, str] = {
    "job.failed": "error",
    "job.requeued": "warn",
    "job.warning": "warn",
    "job.checkpoint_damaged": "warn",
}
"""Of native events; the others are for information."""


def create(
    database: Database,
    queue: Queue,
    project_id: str,
    request: FineTuningRequest,
    again: Repeatable | None,
) -> tuple[FineTuningJob, bool]:
    """Queue the job that a request asks for; return it, and whether it had been made before.

    Raises:
        InvalidPayload: With pointers into the request.
    """
    try:
        answer = posting.create_planned(
            database,
            queue,
            project_id,
            lambda session: to_spec(session, project_id, request),
            again,
        )
    except InvalidPayload as error:
        told = [replace(one, pointer=as_sent(request, one.pointer)) for one in error.problems]
        # What is wrong of a training is wrong of the default teacher's, too.
        raise InvalidPayload(list(dict.fromkeys(told))) from None
    job = Job.model_validate_json(answer.content)
    return as_fine_tuning(job, project_id), answer.is_replayed


def list_jobs(
    database: Database, project_id: str, after: str | None, limit: int, wanted: Filters
) -> Page[FineTuningJob]:
    """List jobs, newest first, in whichever shape they were posted."""
    page = jobs.list_jobs(database, project_id, after, limit, wanted)
    return Page[FineTuningJob](
        data=[as_fine_tuning(job, project_id) for job in page.data],
        has_more=page.has_more,
        first_id=page.first_id,
        last_id=page.last_id,
    )


def list_events(
    database: Database, project_id: str, job_id: str, after: str | None, limit: int
) -> Page[FineTuningEvent]:
    """List events, newest first, that are older than the one of the id ``after``."""
    page = history.list_newest_events(database, project_id, job_id, after, limit)
    data = [_event(event) for event in page.data]
    return Page[FineTuningEvent](
        data=data, has_more=page.has_more, first_id=page.first_id, last_id=page.last_id
    )


def list_checkpoints(
    database: Database, project_id: str, job_id: str, after: str | None, limit: int
) -> Page[FineTuningCheckpoint]:
    """List the checkpoints that are kept, newest first."""
    page = checkpoints.list_checkpoints(database, project_id, job_id, after, limit)
    data = [_checkpoint(one) for one in page.data]
    return Page[FineTuningCheckpoint](
        data=data, has_more=page.has_more, first_id=page.first_id, last_id=page.last_id
    )


def read(database: Database, project_id: str, job_id: str) -> FineTuningJob:
    return as_fine_tuning(jobs.read(database, project_id, job_id), project_id)


def cancel(database: Database, project_id: str, job_id: str) -> FineTuningJob:
    return as_fine_tuning(jobs.cancel(database, project_id, job_id, kill=False), project_id)


def pause(database: Database, project_id: str, job_id: str) -> FineTuningJob:
    return as_fine_tuning(jobs.pause(database, project_id, job_id), project_id)


def resume(database: Database, queue: Queue, project_id: str, job_id: str) -> FineTuningJob:
    return as_fine_tuning(jobs.resume(database, queue, project_id, job_id), project_id)


def read_result_file(database: Database, project_id: str, job_id: str, path: str) -> ResultFile:
    """Read what is known of a file that a job has delivered."""
    job = jobs.read(database, project_id, job_id)
    file = results.read_job_file(database, project_id, job_id, path)
    return ResultFile(
        id=result_file_id(job_id, path),
        bytes=file.bytes,
        sha256=file.sha256,
        media_type=file.media_type,
        filename=path,
        created_at=int((job.finished_at or job.created_at).timestamp()),
    )


def _event(event: JobEvent) -> FineTuningEvent:
    data: dict[str, JsonValue] = {**event.data, "event": event.type}
    return FineTuningEvent.model_validate(
        {
            "id": event.id,
            "created_at": int(event.created_at.timestamp()),
            "level": LEVELS.get(event.type, "info"),
            "message": event.message,
            "data": data,
        }
    )


def _checkpoint(checkpoint: Checkpoint) -> FineTuningCheckpoint:
    metrics = dict(checkpoint.metrics)
    names = {"train_loss": "loss", "full_valid_loss": "validation_log_loss"}
    for name, native in names.items():
        value = metrics.get(f"{checkpoint.role}/{native}")
        if value is not None:
            metrics[name] = value
    return FineTuningCheckpoint(
        id=checkpoint.id,
        created_at=int(checkpoint.created_at.timestamp()),
        fine_tuning_job_id=checkpoint.job_id,
        fine_tuned_model_checkpoint=checkpoint.id,
        step_number=checkpoint.step or 0,
        metrics={**metrics, "step": checkpoint.step or 0},
    )
