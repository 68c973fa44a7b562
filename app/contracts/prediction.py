"""What a model answers to a few inputs."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.contracts.dataset import Task
from app.contracts.strict import Strict

MOST_INPUTS = 64


class Question(Strict):
    """A few inputs, as the model's ONNX file takes them."""

    inputs: list[Any] = Field(
        min_length=1,
        max_length=MOST_INPUTS,
        description="One entry an example, each nested lists of numbers: raw pixels from 0 to 255, "
        "or raw values in the columns' order (see `preprocessor_config.json`).",
    )
    with_teacher: bool = Field(
        default=True, description="Also ask the student's teacher, where it is there as ONNX."
    )


class Answers(BaseModel):
    """What one model answers, example by example."""

    model: str
    output: Literal["logits", "predictions"]
    values: list[list[float]] = Field(
        description="One row an example; float32, as ONNX Runtime gives them."
    )
    labels: list[str] | list[list[str]] | None = Field(
        description="The most probable class; of several labels those more probable than not; "
        "none for regression."
    )
    seconds: float = Field(description="That the model took for all of them.")


class Prediction(BaseModel):
    """A model's answers, and its teacher's beside them."""

    object: Literal["prediction"] = "prediction"
    task: Task
    output_names: list[str] = Field(description="Of the columns of `values`.")
    answers: Answers
    teacher: Answers | None
