"""A job: what a client asks for and what it sees of it."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, JsonValue, StringConstraints

from app.contracts.dataset import AnyDataset
from app.contracts.export import ExportFormat
from app.contracts.knowledge import KnowledgeSettings
from app.contracts.model import AnyTeacher, Assistant, Student
from app.contracts.objective import AnyLoss
from app.contracts.report import Report
from app.contracts.response_losses import Labels, LogitMse, SoftTargets
from app.contracts.strict import Strict
from app.contracts.training import Training

MOST_PAIRS = 16

Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(
        max_length=MOST_PAIRS,
        description=f"Up to {MOST_PAIRS} pairs of a client's own, to find the job by.",
    ),
]

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Priority = Annotated[int, Field(ge=-100, le=100, description="Higher is claimed first.")]


class Resources(Strict):
    """What a job may use."""

    gpus: int | None = Field(
        None,
        ge=0,
        le=1,
        description="1 waits for a GPU worker, 0 keeps to the CPU; where not given, whichever "
        "worker is free, with its GPU if it has one.",
    )
    max_runtime_seconds: int = Field(
        86_400, ge=1, le=30 * 86_400, description="An attempt that runs longer fails the job."
    )
    checkpoint_every_seconds: float = Field(
        60,
        ge=1,
        le=3600,
        description="How much work a lost worker may cost; less often where writing a checkpoint "
        "would take more than 2 % of the time.",
    )


def _default_objective(spec: dict[str, Any]) -> list[AnyLoss]:
    dataset = spec.get("dataset")
    answers: AnyLoss = SoftTargets(weight=0.9)
    if dataset is not None and dataset.task == "regression":
        answers = LogitMse(weight=0.9)
    return [answers, Labels(weight=0.1)]


class TransferSet(Strict):
    """The examples that the student learns from, where they are not all of the train part."""

    omit_classes: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        default=[],
        max_length=999,
        description="Classes of which neither student nor baseline sees an example, to learn from "
        "or to choose its best epoch by; the teacher does.",
    )
    repair: bool = Field(
        default=False,
        description="Afterwards raise the student's biases of these classes, without labels, until "
        "it expects them as often as the teacher does on the validation part (Hinton et al., 2015, "
        "section 3).",
    )


class JobSpec(Strict):
    """What to distil into what, from which data, and how."""

    name: Name | None = None
    dataset: AnyDataset
    teacher: AnyTeacher
    student: Student
    assistants: list[Assistant] = Field(
        default=[],
        max_length=8,
        description="Each learns from the one before, the first from the teacher; the student "
        "learns from the last.",
    )
    generations: int = Field(
        1,
        ge=1,
        le=16,
        description="Students in a row: each learns from the one before (born-again networks, "
        "2018); the last is delivered.",
    )
    objective: list[AnyLoss] = Field(
        default_factory=_default_objective,
        min_length=1,
        max_length=16,
        description="The student's loss: the sum of each loss times its weight. Where not given, "
        "0.9 soft_targets and 0.1 labels; for regression, logit_mse and labels.",
    )
    training: Training = Field(
        default=Training(), description="Of the student, and of the baseline beside it."
    )
    transfer: TransferSet = TransferSet()
    knowledge: KnowledgeSettings = KnowledgeSettings()
    baseline: bool = Field(
        default=True, description="Also train the student without a teacher, to see the gain."
    )
    export: list[ExportFormat] = Field(default=["safetensors", "onnx"], min_length=1, max_length=8)
    teacher_onnx: bool = Field(
        default=False,
        description="Also deliver the teacher, where the job trains one, as ONNX, so that it can "
        "be asked beside its student.",
    )
    resources: Resources = Resources()
    priority: Priority = 0
    metadata: Metadata = Field(default={})


class Status(StrEnum):
    """Where a job is; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)
"""Statuses that a job never leaves."""
LARGEST_NUMBER = 2**31 - 1
"""Of an event, an attempt or a line: what a database's integer holds."""


class DesiredStatus(StrEnum):
    """What the client wants of a job that has not ended."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"


class Phase(StrEnum):
    """What a running job does, in order: the engine's stages."""

    PREPARING = "preparing"
    TRAINING_TEACHER = "training_teacher"
    TRAINING_ASSISTANTS = "training_assistants"
    COLLECTING_KNOWLEDGE = "collecting_knowledge"
    TRAINING_BASELINE = "training_baseline"
    TRAINING_STUDENT = "training_student"
    EVALUATING = "evaluating"
    EXPORTING = "exporting"


WaitingReason = Literal["no_worker", "capacity", "quota", "backoff"]


class PhaseRecord(BaseModel):
    name: Phase
    status: Literal["running", "succeeded", "skipped"]
    started_at: datetime
    finished_at: datetime | None = None


class Progress(BaseModel):
    """How far the present phase is; where it trains several models, the one under way."""

    phase: Phase
    epoch: int | None = Field(None, description="From 1.")
    epochs: int | None = None
    step: int | None = Field(None, description="Optimizer steps or batches done.")
    steps: int | None = None
    examples_per_second: float | None = None
    seconds_left: float | None = Field(
        None, description="For the steps that are left; none until it is seen how long one takes."
    )


class JobError(BaseModel):
    """Why a job failed, and what to do."""

    code: str
    message: str
    phase: Phase | None = None
    retryable: bool
    hint: str | None = None


class FileEntry(BaseModel):
    """A file of a job or of a model."""

    path: str
    bytes: int
    sha256: str
    media_type: str


class Job(BaseModel):
    """A job as a client sees it."""

    object: Literal["distillation.job"] = "distillation.job"
    id: str
    name: str | None
    status: Status
    desired_status: DesiredStatus
    phase: Phase | None
    phases: list[PhaseRecord]
    waiting_reason: WaitingReason | None
    progress: Progress | None
    metrics: dict[str, float] = Field(description="The latest value of each series.")
    attempt: int
    max_attempts: int = Field(
        description="Failures in a row, with no new checkpoint between them, that end the job."
    )
    num_checkpoints: int = Field(description="Committed so far; the job goes on from the newest.")
    version: int
    created_at: datetime
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    spec: dict[str, JsonValue] = Field(description="As it was sent, or edited since.")
    resolved_spec: dict[str, JsonValue] = Field(description="With every default; what runs.")
    result: Report | None
    student_model: str | None
    teacher_model: str | None
    knowledge: str | None = Field(description="The knowledge that it collected or used.")
    files: list[FileEntry]
    parent_id: str | None
    error: JobError | None
    warnings: list[str]
    metadata: dict[str, str]


class JobEvent(BaseModel):
    """One change of a job; numbered from 1 without gaps."""

    object: Literal["distillation.job.event"] = "distillation.job.event"
    id: str
    number: int
    type: str
    message: str
    created_at: datetime
    data: dict[str, JsonValue]


class StreamEnd(BaseModel):
    """What the last message of a stream of events says."""

    status: Literal[Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, "deleted"]


class Checkpoint(BaseModel):
    """A moment from which a job can go on, whatever becomes of its worker."""

    object: Literal["distillation.job.checkpoint"] = "distillation.job.checkpoint"
    id: str
    job_id: str
    number: int = Field(description="From 1; the two newest are kept.")
    phase: Phase
    role: str | None = Field(description="`teacher`, `baseline`, `student`, ...: what was trained.")
    step: int | None = Field(description="Optimizer steps or batches done.")
    epoch: int | None = Field(description="From 1.")
    metrics: dict[str, float] = Field(description="Of the last whole epoch before it.")
    created_at: datetime
    files: list[FileEntry] = Field(
        description="Of the model in training: config.json and model.safetensors are a model that "
        "can be used. Empty between two trainings."
    )


class MetricPoint(BaseModel):
    """One value of one series."""

    name: str
    step: int
    value: float
    created_at: datetime


class ValidatedSpec(BaseModel):
    """What `validate_only` answers: the spec as it would run."""

    object: Literal["distillation.job.validation"] = "distillation.job.validation"
    resolved_spec: dict[str, JsonValue]
    warnings: list[str]
