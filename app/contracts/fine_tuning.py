"""Jobs in the shape of OpenAI's fine-tuning API: what is shown of them."""

from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from app.contracts.job import DesiredStatus, Phase, Progress, Status
from app.contracts.report import Report


class UsedHyperparameters(BaseModel):
    """What the student is trained with."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float


class UsedMethod(BaseModel):
    """The whole spec with every default, but for what the job says beside it."""

    type: Literal["distillation"] = "distillation"
    distillation: dict[str, JsonValue]


class FineTuningError(BaseModel):
    """Why a job failed."""

    code: str
    message: str
    param: str | None = None
    phase: Phase | None
    retryable: bool
    hint: str | None


class FineTuningJob(BaseModel):
    """A job in OpenAI's shape; moments are in whole seconds since 1970."""

    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    id: str
    created_at: int
    finished_at: int | None
    estimated_finish: int | None = Field(
        description="Known while the student is trained; what follows takes seconds."
    )
    status: Status
    model: str
    fine_tuned_model: str | None = Field(description="The student.")
    organization_id: str = Field(description="The project.")
    training_file: str
    validation_file: str | None
    result_files: list[str] = Field(description="To be read at /v1/files/{id}/content.")
    seed: int
    hyperparameters: UsedHyperparameters
    method: UsedMethod
    error: FineTuningError | None
    trained_tokens: int | None = Field(description="Always null: examples are no tokens.")
    integrations: list[JsonValue]
    metadata: dict[str, str]

    name: str | None
    desired_status: DesiredStatus
    phase: Phase | None
    waiting_reason: str | None
    progress: Progress | None
    metrics: dict[str, float]
    result: Report | None
    teacher_model: str | None
    warnings: list[str]


class FineTuningEvent(BaseModel):
    """One change of a job, in OpenAI's shape."""

    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    id: str
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message"] = "message"
    data: dict[str, JsonValue] = Field(
        description="`event` is the native type, such as `job.claimed`; the rest is its data."
    )


class FineTuningCheckpoint(BaseModel):
    """A checkpoint, in OpenAI's shape."""

    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    id: str
    created_at: int
    fine_tuning_job_id: str
    fine_tuned_model_checkpoint: str
    step_number: int = Field(description="0 where nothing is in training.")
    metrics: dict[str, float] = Field(
        description="Of the last whole epoch: OpenAI's names, and our own beside them."
    )


class ResultFile(BaseModel):
    """A file that a job has delivered, in OpenAI's shape."""

    object: Literal["file"] = "file"
    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: Literal["fine-tune-results"] = "fine-tune-results"
    status: Literal["processed"] = "processed"
    sha256: str
    media_type: str
