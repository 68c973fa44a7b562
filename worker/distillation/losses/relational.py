"""Relational knowledge: match distances and angles between the examples of a batch.

Park et al., 2019, "Relational Knowledge Distillation", https://arxiv.org/abs/1904.05068, sections
3.2.1 and 3.2.2, with their Huber loss. As in the authors' code the means run over all pairs and
all triplets, an example with itself among them, and distances are divided by the mean of those
above 0; the weights of 25 and 50 (Tian et al., 2020) are for these means. Summed over the pairs of
layers, which may be of any two shapes.

Shapes: B = batch, F = features of a vector.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.contracts.feature_losses import Relational
from worker.distillation.features import PairedLoss, as_vectors_BF, scaled_to_one, unit_length
from worker.distillation.loss import Loss, Setting


def distance_B(student: Tensor, teacher: Tensor) -> Tensor:
    """Return each example's mean Huber loss of its distances; the batch's mean is the loss."""
    return _huber(distances_BB(student), distances_BB(teacher)).mean(dim=1)


def angle_B(student: Tensor, teacher: Tensor) -> Tensor:
    """Return, of each example as the vertex, the mean Huber loss of the cosines of its angles."""
    return _huber(cosines_BBB(student), cosines_BBB(teacher)).mean(dim=(1, 2))


def distances_BB(features: Tensor) -> Tensor:
    """Return the distances between examples, over the mean of those that are above 0."""
    distances = torch.linalg.vector_norm(_differences_BBF(features), dim=2)
    mean = distances.sum() / (distances > 0).sum().clamp_min(1)
    relative_BB: Tensor = distances / mean.where(mean > 0, 1)
    return relative_BB


def cosines_BBB(features: Tensor) -> Tensor:
    """Return the cosine of the angle at each example (the first B) between each two others."""
    directions_BBF = unit_length(_differences_BBF(features))
    return directions_BBF @ directions_BBF.transpose(1, 2)


class Comparison(nn.Module):
    def __init__(self, distance_weight: float, angle_weight: float) -> None:
        super().__init__()
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        total_B = self.distance_weight * distance_B(student, teacher)
        if self.angle_weight == 0:  # it takes B^3
            return total_B
        return total_B + self.angle_weight * angle_B(student, teacher)


def build(spec: Relational, setting: Setting) -> Loss:
    """Return the loss; it learns nothing."""
    comparisons = [Comparison(spec.distance_weight, spec.angle_weight) for _ in spec.layers]
    return PairedLoss(spec.layers, comparisons)


def _differences_BBF(features: Tensor) -> Tensor:
    # Neither relation depends on scale, and squares stay within float32.
    features_BF = scaled_to_one(as_vectors_BF(features), dims=(0, 1))
    return features_BF[None] - features_BF[:, None]


def _huber(student: Tensor, teacher: Tensor) -> Tensor:
    return F.smooth_l1_loss(student, teacher, reduction="none")
