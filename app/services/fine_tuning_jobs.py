"""A job in OpenAI's shape."""

from datetime import UTC, datetime, timedelta
from typing import Any

from app.contracts.fine_tuning import (
    FineTuningError,
    FineTuningJob,
    UsedHyperparameters,
    UsedMethod,
)
from app.contracts.job import Job, JobError, Phase
from app.services.fine_tuning_specs import DEFAULT_RATES

LAST_LONG_PHASE = Phase.TRAINING_STUDENT
BESIDE = ("name", "metadata")
"""Of the spec: what a job says outside of its method."""
SAME = (
    "id",
    "status",
    "metadata",
    "name",
    "desired_status",
    "phase",
    "waiting_reason",
    "progress",
    "metrics",
    "result",
    "teacher_model",
    "warnings",
)


def as_fine_tuning(job: Job, project_id: str) -> FineTuningJob:
    spec: dict[str, Any] = job.resolved_spec
    dataset, start = spec["dataset"], spec["student"]["initialize"]
    return FineTuningJob.model_validate(
        {
            **{name: getattr(job, name) for name in SAME},
            "created_at": _seconds(job.created_at),
            "finished_at": _seconds(job.finished_at),
            "estimated_finish": _seconds(_estimated_finish(job)),
            "model": start.get("model") or spec["student"]["architecture"]["name"],
            "fine_tuned_model": job.student_model,
            "organization_id": project_id,
            "training_file": dataset.get("file") or dataset["name"],
            "validation_file": dataset.get("validation_file"),
            "result_files": [result_file_id(job.id, file.path) for file in job.files],
            "seed": spec["training"]["seed"],
            "hyperparameters": _hyperparameters(spec["training"]),
            "method": UsedMethod(
                distillation={name: spec[name] for name in spec if name not in BESIDE}
            ),
            "error": None if job.error is None else _error(job.error),
            "trained_tokens": None,
            "integrations": [],
        }
    )


def result_file_id(job_id: str, path: str) -> str:
    """Name a job's file as one name among all files of a project."""
    return f"{job_id}:{path}"


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def _estimated_finish(job: Job) -> datetime | None:
    """Tell when the student will be trained; before that phase nobody knows how long it takes."""
    if job.progress is None or job.progress.phase is not LAST_LONG_PHASE:
        return None
    left = job.progress.seconds_left
    return None if left is None else datetime.now(UTC) + timedelta(seconds=left)


def _hyperparameters(training: dict[str, Any]) -> UsedHyperparameters:
    optimizer = training["optimizer"]
    # Rounded, since 3 times 0.001 and back is not 3 in floating point.
    times = round(optimizer["lr"] / DEFAULT_RATES[optimizer["name"]], 9)
    return UsedHyperparameters(
        n_epochs=training["epochs"],
        batch_size=training["batch_size"],
        learning_rate_multiplier=times,
    )


def _error(error: JobError) -> FineTuningError:
    return FineTuningError(**error.model_dump())
