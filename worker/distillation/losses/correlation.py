"""Correlation: match the kernel correlations of the examples of a batch.

Peng et al., 2019, "Correlation Congruence for Knowledge Distillation",
https://arxiv.org/abs/1904.01802, section 3: the Gaussian kernel of features at length 1, by its
Taylor series, and the mean of squared differences over all pairs of examples, summed over the pairs
of layers.

The paper projects both sides to one width. The kernels are B x B whatever the widths, so nothing is
projected here: a projection of the teacher, learned from this loss alone, would make it 0 by
mapping all examples to one point. What RepDistiller calls correlation (weight 0.02) is another
formula; its weight means nothing here, where values are between 0 and 1.

Shapes: B = batch, F = features of a vector.
"""

import math

import torch
from torch import Tensor, nn

from app.contracts.feature_losses import Correlation
from worker.distillation.features import PairedLoss, as_vectors_BF, unit_length
from worker.distillation.loss import Loss, Setting


def correlation_B(student: Tensor, teacher: Tensor, gamma: float, order: int) -> Tensor:
    """Return each example's mean squared difference over its row; the batch's mean is the loss.

    Of two features (B, ...), whose shapes may differ.
    """
    student_BB, teacher_BB = (kernel_BB(each, gamma, order) for each in (student, teacher))
    return (student_BB - teacher_BB).square().mean(dim=1)


def kernel_BB(features: Tensor, gamma: float, order: int) -> Tensor:
    """Return exp(-gamma |x - y|^2) of examples at length 1, by the series up to ``order``.

    Between unit vectors it is exp(-2 gamma) exp(2 gamma x.y).
    """
    features_BF = unit_length(as_vectors_BF(features))
    exponents_BB = 2 * gamma * (features_BF @ features_BF.T)
    term_BB = torch.full_like(exponents_BB, math.exp(-2 * gamma))
    kernel_BB = term_BB
    for power in range(1, order + 1):
        term_BB = term_BB * exponents_BB / power
        kernel_BB = kernel_BB + term_BB
    return kernel_BB


class Comparison(nn.Module):
    def __init__(self, gamma: float, order: int) -> None:
        super().__init__()
        self.gamma = gamma
        self.order = order

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return correlation_B(student, teacher, self.gamma, self.order)


def build(spec: Correlation, setting: Setting) -> Loss:
    """Return the loss; it learns nothing."""
    return PairedLoss(spec.layers, [Comparison(spec.gamma, spec.order) for _ in spec.layers])
