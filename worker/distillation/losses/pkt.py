"""Probabilistic knowledge transfer: match the probabilities that one example stands for another.

Passalis and Tefas, 2018, "Learning Deep Representations with Probabilistic Knowledge Transfer",
https://arxiv.org/abs/1803.10837, section 3: cosine similarities, moved to between 0 and 1, are made
probabilities of each example given another, and KL(teacher || student) is taken. As in the authors'
code an example is among its own neighbours, which the paper leaves out, and the loss is the mean
over all pairs of examples; RepDistiller's weight of 30000 is for that mean. Summed over the pairs
of layers, which may be of any two shapes.

Shapes: B = batch, F = features of a vector.
"""

from torch import Tensor, nn

from app.contracts.feature_losses import Pkt
from worker.distillation.features import PairedLoss, as_vectors_BF, unit_length
from worker.distillation.loss import Loss, Setting

LEAST = 1e-7
"""Added to each probability: opposites would have none, and an endless divergence."""


def pkt_B(student: Tensor, teacher: Tensor) -> Tensor:
    """Return each example's KL(teacher || student) over B; the batch's mean is the loss.

    Of two features (B, ...), whose shapes may differ.
    """
    student_BB, teacher_BB = probabilities_BB(student), probabilities_BB(teacher)
    return (teacher_BB * (teacher_BB.log() - student_BB.log())).mean(dim=1)


def probabilities_BB(features: Tensor) -> Tensor:
    """Return the probability of each example (column) given one (row)."""
    features_BF = unit_length(as_vectors_BF(features))
    # By rounding, the cosine of opposites can come out below -1.
    similarities_BB = (features_BF @ features_BF.T + 1).clamp_min(0) / 2
    probabilities_BB = similarities_BB / similarities_BB.sum(dim=1, keepdim=True)
    # Both sides are distributions still, so no divergence between them is below 0.
    return (probabilities_BB + LEAST) / (1 + LEAST * len(features))


class Comparison(nn.Module):
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return pkt_B(student, teacher)


def build(spec: Pkt, setting: Setting) -> Loss:
    """Return the loss; it learns nothing."""
    return PairedLoss(spec.layers, [Comparison() for _ in spec.layers])
