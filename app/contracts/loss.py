"""What every loss of an objective has: a weight with its schedule, and what the loss asks for."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from app.contracts.dataset import Task
from app.contracts.strict import Strict

EVERY_TASK: tuple[Task, ...] = ("classification", "multi_label", "regression")
WITH_CLASSES: tuple[Task, ...] = ("classification", "multi_label")

LayerPath = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        description="Module path such as `stages.2`, or a glob such as `stages.*`.",
    ),
]


class WeightSchedule(Strict):
    """How a loss's weight changes during training; from the first step on it is as given."""

    warmup_epochs: float = Field(
        0.0, ge=0, le=100_000, description="Epochs over which the weight rises from 0, in a line."
    )
    decay: Literal["none", "linear", "cosine"] = Field(
        "none", description="How it then goes to `final`, which it reaches at the last step."
    )
    final: float = Field(0.0, ge=0, le=1, description="Share of the weight at the last step.")


class LossSpec(Strict):
    """Settings that every loss has."""

    weight: float = Field(
        1.0, ge=0, le=1e6, description="This loss's factor in the sum; used as given."
    )
    weight_schedule: WeightSchedule = WeightSchedule()

    tasks: ClassVar[tuple[Task, ...]] = EVERY_TASK
    """What it can be used for."""
    least_classes: ClassVar[int] = 2
    reads_teacher: ClassVar[bool] = True
    relates_examples: ClassVar[bool] = False
    """Whether an example's value depends on the others in its batch."""
    needs_dense_logits: ClassVar[bool] = False
    """Whether it reads more of the teacher's answers than `top_k` keeps: each logit's own value, or
    how classes of little probability differ, of which a record keeps only the sum."""
    maps_only: ClassVar[bool] = False
    """Whether its layers must give image maps (channels, height, width)."""

    @property
    def prefers_dense_logits(self) -> bool:
        """Whether, as it is set, what `top_k` does not keep weighs much in it."""
        return self.needs_dense_logits

    def pairs(self) -> list["LayerPair"]:
        """Return the layers that it reads; none where it reads answers alone."""
        return []


class LayerPair(Strict):
    """One layer of the student that learns from one layer of the teacher.

    Globs on both sides pair what they match in order, as many on one side as on the other.
    """

    student: LayerPath
    teacher: LayerPath


class FeatureLossSpec(LossSpec):
    """Settings of the losses that compare hidden layers."""

    layers: list[LayerPair] = Field(min_length=1, max_length=64)

    def pairs(self) -> list[LayerPair]:
        return self.layers
