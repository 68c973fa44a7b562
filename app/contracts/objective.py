"""Losses an objective may sum, one class each.

The engine runs each from the module of the same name in ``worker/distillation/losses``.
"""

from typing import Annotated, Literal

from pydantic import Field

from app.contracts.strict import Strict


class LossSpec(Strict):
    """Settings that every loss has."""

    weight: float = Field(
        1.0, ge=0, le=1e6, description="This loss's factor in the sum; used as given."
    )


class Labels(LossSpec):
    """Match the labels of the data: cross-entropy."""

    loss: Literal["labels"] = "labels"
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of the target spread evenly over all classes."
    )


class SoftTargets(LossSpec):
    """Match the teacher's softened class probabilities (Hinton et al., 2015)."""

    loss: Literal["soft_targets"] = "soft_targets"
    temperature: float = Field(4.0, gt=0, le=100, description="Softens both distributions.")


class LayerPair(Strict):
    """One layer of the student that learns from one layer of the teacher."""

    student: str = Field(
        min_length=1, max_length=200, description="Module path in the student, such as `stages.2`."
    )
    teacher: str = Field(min_length=1, max_length=200, description="Module path in the teacher.")


class Hints(LossSpec):
    """Match the teacher's hidden features through a learned regressor (FitNets, 2015)."""

    loss: Literal["hints"] = "hints"
    layers: list[LayerPair] = Field(min_length=1, max_length=16)


AnyLoss = Annotated[Labels | SoftTargets | Hints, Field(discriminator="loss")]
