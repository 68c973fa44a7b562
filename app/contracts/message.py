"""What the trainer tells the supervisor: one JSON object a line, on a pipe of its own."""

from enum import IntEnum, StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter

from app.contracts.job import JobError, Phase, Progress
from app.contracts.report import Report


class PhaseStarted(BaseModel):
    type: Literal["phase_started"] = "phase_started"
    phase: Phase
    restored: bool = Field(
        default=False, description="An earlier attempt has done it; its output was there already."
    )


class PhaseFinished(BaseModel):
    type: Literal["phase_finished"] = "phase_finished"
    phase: Phase
    skipped: bool = False
    restored: bool = False
    summary: str = Field("", description="One sentence for people: what came out.")


class ProgressMade(BaseModel):
    type: Literal["progress"] = "progress"
    progress: Progress


class StillAlive(BaseModel):
    """The trainer works, between two steps: at a long validation, for one."""

    type: Literal["alive"] = "alive"


class WentOn(BaseModel):
    """A training, or the collection of knowledge, goes on from a checkpoint."""

    type: Literal["went_on"] = "went_on"
    phase: Phase
    role: str
    step: int = Field(description="The first that it makes, from 0.")


class MetricsMeasured(BaseModel):
    """Values of series such as `student/validation_accuracy`, at an optimizer step."""

    type: Literal["metrics"] = "metrics"
    step: int
    values: dict[str, float]


class Warned(BaseModel):
    type: Literal["warning"] = "warning"
    message: str


class OutputFile(BaseModel):
    """One file of a folder that a manifest is about."""

    path: str = Field(description="Relative to the folder, with `/`.")
    bytes: int
    sha256: str


class CheckpointWritten(BaseModel):
    """All that another trainer needs to go on from here lies in the workspace, whole.

    The files stay for a while only: the trainer keeps its two newest checkpoints.
    """

    type: Literal["checkpoint"] = "checkpoint"
    phase: Phase
    role: str | None = Field(None, description="`teacher`, `baseline`, `student`, ...")
    folder: str | None = Field(
        None, description="Of the model in training, in the workspace: config.json, its weights."
    )
    step: int | None = Field(None, description="Optimizer steps or batches done.")
    epoch: int | None = Field(None, description="From 1; the one that the next step is of.")
    metrics: dict[str, float] = Field({}, description="Of the last whole epoch.")
    files: list[OutputFile] = Field(description="Relative to the workspace.")


class Failed(BaseModel):
    type: Literal["failed"] = "failed"
    error: JobError


class Finished(BaseModel):
    """The last message of a job that went well: the outputs are whole, the manifest written."""

    type: Literal["finished"] = "finished"
    report: Report


AnyMessage = Annotated[
    PhaseStarted
    | PhaseFinished
    | ProgressMade
    | StillAlive
    | WentOn
    | MetricsMeasured
    | Warned
    | CheckpointWritten
    | Failed
    | Finished,
    Field(discriminator="type"),
]

MESSAGE: TypeAdapter[AnyMessage] = TypeAdapter(AnyMessage)


class Manifest(BaseModel):
    """`outputs/manifest.json`, written last: what an attempt delivers."""

    files: list[OutputFile]


class StopReason(StrEnum):
    """Why a trainer is to stop at its next step: one word a line, on a pipe to it."""

    DRAIN = "drain"
    """Its worker goes; another will go on, so a checkpoint comes first. By hand: SIGTERM."""
    PAUSE = "pause"
    """The client will have it go on later; a checkpoint comes first."""
    CANCEL = "cancel"
    """Nothing is to be kept."""


class ExitCode(IntEnum):
    """How a trainer's process ends; anything else is a crash."""

    SUCCEEDED = 0
    BAD_INPUT = 65
    DISK_FULL = 74
    DRAINED = 75
    PAUSED = 76
    CANCELLED = 77


NO_GPU = "no_gpu"
"""The code of a failure that names a GPU: of the spec by hand, of the machine under a worker."""

STOPPED = {
    StopReason.DRAIN: ExitCode.DRAINED,
    StopReason.PAUSE: ExitCode.PAUSED,
    StopReason.CANCEL: ExitCode.CANCELLED,
}
"""The exit code of a trainer that has stopped as it was asked to."""
