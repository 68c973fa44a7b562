"""Similarity: match which examples of a batch look alike to a layer.

Tung and Mori, 2019, "Similarity-Preserving Knowledge Distillation",
https://arxiv.org/abs/1907.09682, equations 2 to 4: products of flattened features, each row at
length 1, and the mean of squared differences over all pairs of examples, summed over the pairs of
layers. That mean has its usual weight of 3000 (Tian et al., 2020). Layers of any two shapes can be
compared.

Shapes: B = batch, F = features of a vector.
"""

from torch import Tensor, nn

from app.contracts.feature_losses import Similarity
from worker.distillation.features import PairedLoss, as_vectors_BF, scaled_to_one, unit_length
from worker.distillation.loss import Loss, Setting


def similarity_B(student: Tensor, teacher: Tensor) -> Tensor:
    """Return each example's mean squared difference over its row; the batch's mean is the loss.

    Of two features (B, ...), whose shapes may differ.
    """
    return (similarities_BB(student) - similarities_BB(teacher)).square().mean(dim=1)


def similarities_BB(features: Tensor) -> Tensor:
    """Return how much each example (a row, at length 1) is like each of its batch."""
    # One scale for all changes no row's direction, and keeps products within float32.
    features_BF = scaled_to_one(as_vectors_BF(features), dims=(0, 1))
    return unit_length(features_BF @ features_BF.T)


class Comparison(nn.Module):
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return similarity_B(student, teacher)


def build(spec: Similarity, setting: Setting) -> Loss:
    """Return the loss; it learns nothing."""
    return PairedLoss(spec.layers, [Comparison() for _ in spec.layers])
