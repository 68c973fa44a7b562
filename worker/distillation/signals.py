"""What a loss sees of a model on one batch.

Shapes: B = batch, C = outputs (classes, labels or targets).
"""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Signals:
    """A model's outputs on one batch, live or from the knowledge cache."""

    logits_BC: Tensor
    """Of classes or labels; for regression, predictions in standard deviations from the mean."""
    features: dict[str, Tensor] = field(default_factory=dict)
    """By module path; each is B x anything, as the layer gave it."""


@dataclass(frozen=True)
class Batch:
    """What the data says of the same examples."""

    ids_B: Tensor
    labels: Tensor
    """Classification: classes, int64 (B). Else float32 (B, C): multi-label 0, 1, or NaN where
    nobody knows; regression targets in standard deviations from the mean."""
