"""Jobs in the shape of OpenAI's fine-tuning API: what is asked for and what is shown."""

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    WithJsonSchema,
    field_validator,
)

from app.contracts.job import DesiredStatus, Metadata, Name, Phase, Progress, Status
from app.contracts.report import Report
from app.contracts.strict import Strict

OTHER_METHODS = ("supervised", "dpo", "reinforcement")


def _none_where_auto(value: object) -> object:
    return None if value == "auto" else value


def _or_auto(number: str) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": number}, {"const": "auto"}, {"type": "null"}]})


AutoInteger = Annotated[int | None, BeforeValidator(_none_where_auto), _or_auto("integer")]
AutoNumber = Annotated[float | None, BeforeValidator(_none_where_auto), _or_auto("number")]


class Hyperparameters(Strict):
    """OpenAI's names for three settings of `training`; `auto` is the native default."""

    n_epochs: AutoInteger = Field(None, description="`training.epochs`.")
    batch_size: AutoInteger = Field(None, description="`training.batch_size`.")
    learning_rate_multiplier: AutoNumber = Field(
        None,
        gt=0,
        le=1e6,
        description="Times the default rate of the optimizer: `training.optimizer.lr`.",
    )


class Distillation(BaseModel):
    """Parts of a native job spec (`POST /v1/distillation/jobs`), each as it is there.

    What is not given has a default: of the teacher, a larger architecture of the student's family.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    hyperparameters: Hyperparameters = Hyperparameters()

    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    @property
    def parts(self) -> dict[str, JsonValue]:
        return self.__pydantic_extra__


class Method(Strict):
    """How the student learns."""

    type: Literal["distillation"]
    distillation: Distillation = Distillation()

    @field_validator("type", mode="before")
    @classmethod
    def _is_distillation(cls, value: object) -> object:
        if value in OTHER_METHODS:
            raise ValueError(
                f"given {value!r}; this service distils: expected 'distillation', with what else "
                "is to be said in `distillation`, or without `method`"
            )
        return value


class FineTuningRequest(Strict):
    """A job, as OpenAI's clients ask for one."""

    model: str = Field(
        min_length=1,
        max_length=200,
        description="The student: an architecture's name, or the id of a registered model to go "
        "on from.",
    )
    training_file: str = Field(
        min_length=1,
        max_length=200,
        description="An uploaded file, or the name of a built-in dataset. A table has a column "
        "`label` unless `method.distillation.dataset.format` says otherwise.",
    )
    validation_file: None = Field(
        None, description="Not taken: a share of `training_file` is held out."
    )
    suffix: Name | None = Field(None, description="The job's name.")
    seed: int | None = Field(None, description="`training.seed`.")
    metadata: Metadata | None = None
    hyperparameters: Hyperparameters = Hyperparameters()
    method: Method = Method(type="distillation")
    integrations: list[JsonValue] | None = Field(None, max_length=0, description="None are there.")

    @field_validator("validation_file", mode="before")
    @classmethod
    def _has_no_validation_file(cls, value: object) -> object:
        if value is not None:
            raise ValueError(
                "a second file is not taken: `method.distillation.dataset.split` says which share "
                "of training_file is held out for validation and test"
            )
        return value

    @field_validator("integrations", mode="before")
    @classmethod
    def _has_no_integrations(cls, value: object) -> object:
        if isinstance(value, list) and value:
            raise ValueError(
                "this service reports to no others; a job's metrics are at "
                "/v1/distillation/jobs/{id}/metrics"
            )
        return value


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
