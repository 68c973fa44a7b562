"""Variational information distillation: maximise what the student's features tell of the teacher's.

Ahn et al., 2019, "Variational Information Distillation for Knowledge Transfer",
https://arxiv.org/abs/1904.05835, section 2.1: the teacher's feature is Gaussian, around what a
learned regressor makes of the student's, with a learned variance per channel. The loss is its
negative log likelihood without its constant, so it may be negative; the mean over a feature's
elements, as in RepDistiller (weight 1), and summed over the pairs.

Shapes: B = batch, F = features of a vector, D = channels, H, W = height and width of a map.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.contracts.feature_losses import Vid
from worker.distillation.features import (
    MAP,
    PairedLoss,
    Shape,
    meeting,
    require_vectors_or_maps,
    shapes_of,
)
from worker.distillation.loss import Loss, Setting

FIRST_VARIANCE, LEAST_VARIANCE = 5.0, 1e-5
"""RepDistiller's."""


def vid_B(mean: Tensor, teacher: Tensor, variance_D: Tensor) -> Tensor:
    """Return each example's log sigma + (teacher - mean)^2 / (2 sigma^2), averaged.

    ``mean`` and ``teacher`` are vectors (B, D) or maps (B, D, H, W) of one shape.
    """
    variance = variance_D.reshape(-1, *[1] * (mean.ndim - 2))
    surprise = variance.log() / 2 + (teacher - mean).square() / (2 * variance)
    return surprise.flatten(1).mean(dim=1)


class GaussianModel(nn.Module):
    """What the student's feature says of the teacher's, at the size where the two meet."""

    def __init__(self, student: Shape, teacher: Shape) -> None:
        super().__init__()
        self.of_student, self.of_teacher = meeting(student, teacher)
        of_maps = len(student) == len(teacher) == MAP
        self.regressor = (
            _convolutions(student[0], teacher[0]) if of_maps else nn.Linear(student[0], teacher[0])
        )
        raw = math.log(math.expm1(FIRST_VARIANCE - LEAST_VARIANCE))
        self.raw_variance_D = nn.Parameter(torch.full((teacher[0],), raw))

    def variance_D(self) -> Tensor:
        return F.softplus(self.raw_variance_D) + LEAST_VARIANCE

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        mean = self.regressor(self.of_student(student))
        return vid_B(mean, self.of_teacher(teacher), self.variance_D())


def build(spec: Vid, setting: Setting) -> Loss:
    """Return the loss with new regressors, drawn from torch's global generator.

    Raises:
        BadInput: a layer gives neither vectors nor maps.
    """
    models = []
    for pair in spec.layers:
        student, teacher = shapes_of(pair, setting)
        require_vectors_or_maps(pair, student, teacher)
        models.append(GaussianModel(student, teacher))
    return PairedLoss(spec.layers, models)


def _convolutions(before: int, after: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(before, after, 1),
        nn.ReLU(),
        nn.Conv2d(after, after, 1),
        nn.ReLU(),
        nn.Conv2d(after, after, 1),
    )
