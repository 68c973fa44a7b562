"""What a job measured: teacher, baseline and student side by side."""

from pydantic import BaseModel, Field


class Scores(BaseModel):
    """One model on one part of the data."""

    num_examples: int
    errors: int = Field(description="Examples whose most probable class is wrong.")
    accuracy: float = Field(description="Share of examples whose most probable class is right.")
    top5_accuracy: float | None = Field(None, description="Only from 6 classes on.")
    macro_f1: float = Field(description="F1 of each class, averaged over the classes.")
    log_loss: float = Field(description="Mean negative log-likelihood, in nats.")
    calibration_error: float = Field(description="Expected calibration error, 15 bins.")


class ModelReport(BaseModel):
    """What one model is and how good it is."""

    architecture: str
    num_parameters: int
    bytes: int = Field(description="Of its weights in safetensors.")
    latency_seconds: float = Field(description="Median of one example's forward pass on the CPU.")
    epoch: int | None = Field(
        None, description="The epoch kept: the best on validation, else the last."
    )
    validation: Scores | None = None
    test: Scores


class Fidelity(BaseModel):
    """How close the student is to its teacher on the test examples."""

    agreement: float = Field(description="Share of examples with the same most probable class.")
    mean_divergence: float = Field(description="Mean KL(teacher || student), in nats.")


class Report(BaseModel):
    """A job's result; every comparison is on test examples no training has seen."""

    teacher: ModelReport
    baseline: ModelReport | None
    student: ModelReport
    fidelity: Fidelity
    gain: float | None = Field(
        None, description="Accuracy of the student less that of the baseline."
    )
    gap_recovered: float | None = Field(
        None,
        description="(student - baseline) / (teacher - baseline) in accuracy; none where the "
        "teacher is no better than the baseline.",
    )
    compression: float = Field(description="Parameters of the teacher over the student's.")
    speedup: float = Field(description="Latency of the teacher over the student's.")
    num_examples: dict[str, int] = Field(description="Of train, validation and test.")
    output_names: list[str]
    warnings: list[str] = []
