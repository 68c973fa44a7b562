"""What the trainer tells the supervisor: one JSON object a line, on a pipe of its own."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter

from app.contracts.job import JobError, Phase, Progress
from app.contracts.report import Report


class PhaseStarted(BaseModel):
    type: Literal["phase_started"] = "phase_started"
    phase: Phase


class PhaseFinished(BaseModel):
    type: Literal["phase_finished"] = "phase_finished"
    phase: Phase
    skipped: bool = False
    summary: str = Field("", description="One sentence for people: what came out.")


class ProgressMade(BaseModel):
    type: Literal["progress"] = "progress"
    progress: Progress


class MetricsMeasured(BaseModel):
    """Values of series such as `student/validation_accuracy`, at an optimizer step."""

    type: Literal["metrics"] = "metrics"
    step: int
    values: dict[str, float]


class Warned(BaseModel):
    type: Literal["warning"] = "warning"
    message: str


class Failed(BaseModel):
    type: Literal["failed"] = "failed"
    error: JobError


class Finished(BaseModel):
    """The last message of a job that went well: the outputs are whole, the manifest written."""

    type: Literal["finished"] = "finished"
    report: Report


AnyMessage = Annotated[
    PhaseStarted | PhaseFinished | ProgressMade | MetricsMeasured | Warned | Failed | Finished,
    Field(discriminator="type"),
]

MESSAGE: TypeAdapter[AnyMessage] = TypeAdapter(AnyMessage)


class OutputFile(BaseModel):
    """One file under the workspace's `outputs` folder."""

    path: str = Field(description="Relative to `outputs`, with `/`.")
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """`outputs/manifest.json`, written last: what an attempt delivers."""

    files: list[OutputFile]


class ExitCode:
    """How a trainer's process ends; anything else is a crash."""

    SUCCEEDED = 0
    BAD_INPUT = 65
    CANCELLED = 77
