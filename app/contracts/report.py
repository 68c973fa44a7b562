"""What a job measured: teacher, baseline and student side by side."""

from typing import Literal

from pydantic import BaseModel, Field

from app.contracts.dataset import Task

Quality = Literal["accuracy", "macro_f1", "r2"]
"""What models are compared by: of classes, of labels, of numbers. Higher is better."""


class Interval(BaseModel):
    """Where a figure lies in 95 of 100 bootstrap samples of the test examples."""

    low: float
    high: float


class Scores(BaseModel):
    """One model on one part of the data; each task has its own figures."""

    num_examples: int
    quality: float = Field(description="The figure that models are compared by.")
    intervals: dict[str, Interval] = Field(
        {}, description="Of the figures below, by their names; on test alone."
    )
    errors: int | None = Field(
        None, description="Examples whose most probable class is wrong; of labels, wrong labels."
    )
    accuracy: float | None = Field(
        None, description="Share of right answers: of examples, or of labels that are known."
    )
    top5_accuracy: float | None = Field(None, description="Only from 6 classes on.")
    exact_match: float | None = Field(
        None, description="Share of examples of which every known label is right."
    )
    macro_f1: float | None = Field(
        None, description="F1 of each class or label, averaged over them."
    )
    log_loss: float | None = Field(None, description="Mean negative log-likelihood, in nats.")
    calibration_error: float | None = Field(
        None, description="Expected calibration error, 15 bins."
    )
    rmse: float | None = Field(
        None, description="Root of the mean squared error; of several targets, in their deviations."
    )
    mae: float | None = Field(None, description="Mean absolute error, in the units of `rmse`.")
    r2: float | None = Field(None, description="Share of variance explained, mean over targets.")


class ModelReport(BaseModel):
    """What one model is and how good it is; of a teacher known by its answers, only the latter."""

    architecture: str | None = None
    num_parameters: int | None = None
    flops: int | None = Field(None, description="Of one example's forward pass.")
    bytes: int | None = Field(None, description="Of its weights in safetensors.")
    latency_seconds: float | None = Field(
        None, description="Median of one example's forward pass in PyTorch on the CPU."
    )
    epoch: int | None = Field(
        None, description="The epoch kept: the best on validation, else the last."
    )
    validation: Scores | None = None
    test: Scores


class Fidelity(BaseModel):
    """How close the student is to its teacher on the test examples."""

    agreement: float | None = Field(
        None, description="Share of examples with the same most probable class; of labels, alike."
    )
    mean_divergence: float | None = Field(
        None, description="Mean KL(teacher || student), in nats; of labels, summed over them."
    )
    rmse: float | None = Field(
        None, description="Between both predictions, in standard deviations of the teacher's."
    )
    r2: float | None = Field(
        None, description="Share of the variance of the teacher's predictions that is matched."
    )


class ExportedFile(BaseModel):
    """A file that the student is delivered in."""

    path: str
    bytes: int
    latency_p50_seconds: float | None = Field(
        None, description="Of one example under ONNX Runtime, on one thread of the CPU."
    )
    latency_p95_seconds: float | None = None


class CopiedTensor(BaseModel):
    """A tensor of the student and where it came from, by their names in the weights."""

    student: str
    teacher: str
    shape: list[int]


class KeptTensor(BaseModel):
    """A tensor of the student that started as its architecture makes it."""

    student: str
    reason: str


class Initialization(BaseModel):
    """What a student that started from its teacher's layers took, and what not."""

    copied: list[CopiedTensor]
    kept: list[KeptTensor] = Field(default=[])


class RepairedClass(BaseModel):
    """A class missing in the transfer set, and what its bias was raised by."""

    name: str
    bias: float = Field(description="Added to the class's logit.")
    share_before: float = Field(description="The student's mean probability of the class.")
    share_after: float
    expected_share: float = Field(description="The teacher's, on the same examples.")


class Repair(BaseModel):
    """The classes that were missing in the transfer set."""

    classes: list[RepairedClass]


class Report(BaseModel):
    """A job's result; every comparison is on test examples no training has seen."""

    task: Task = "classification"
    compared_by: Quality = "accuracy"
    teacher: ModelReport | None
    assistants: list[ModelReport] = []
    baseline: ModelReport | None
    student: ModelReport
    fidelity: Fidelity | None
    gain: float | None = Field(None, description="Quality of the student less the baseline's.")
    gain_interval: Interval | None = None
    gap_recovered: float | None = Field(
        None,
        description="(student - baseline) / (teacher - baseline) in quality; none where the "
        "teacher is no better than the baseline.",
    )
    gap_interval: Interval | None = Field(
        None, description="Of `gap_recovered`; none where the gap may itself be chance."
    )
    compression: float | None = Field(
        None, description="Parameters of the teacher over the student's."
    )
    speedup: float | None = Field(None, description="Latency of the teacher over the student's.")
    num_examples: dict[str, int] = Field(
        description="Of train, validation and test; and, where classes were omitted, `transfer`: "
        "the train examples left to student and baseline."
    )
    output_names: list[str]
    exports: list[ExportedFile] = []
    repair: Repair | None = None
    warnings: list[str] = []


class OutputScores(BaseModel):
    """One class, label or target."""

    name: str
    num_examples: int = Field(description="Of the class; of a label, those that have it.")
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    rmse: float | None = Field(None, description="In the target's own unit.")
    r2: float | None = None


class ReliabilityBin(BaseModel):
    """The answers whose probability lies in one of fifteen equal steps from 0 to 1.

    Of classes the probability is that of the answer, of labels that of a yes.
    """

    num_answers: int
    confidence: float = Field(description="The mean probability.")
    accuracy: float = Field(description="Share of answers that are right; of labels that are yes.")


class CurvePoint(BaseModel):
    """One epoch of a training."""

    epoch: int
    loss: float
    losses: dict[str, float]
    validation: dict[str, float]


class ModelDetails(BaseModel):
    """What a plot or a long table of one model needs."""

    outputs: list[OutputScores] = []
    confusion: list[list[int]] | None = Field(
        None, description="On test: rows are the classes, columns the answers. Up to 200 classes."
    )
    reliability: list[ReliabilityBin] = []
    curve: list[CurvePoint] = []


class FullReport(Report):
    """`report.json`: the result with all its details, by role."""

    details: dict[str, ModelDetails]
    initialization: Initialization | None = None
