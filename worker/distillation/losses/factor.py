"""Factors: match what a paraphraser makes of the teacher's maps.

Kim, Park and Kwak, 2018, "Paraphrasing Complex Network: Network Compression via Factor Transfer",
https://arxiv.org/abs/1802.04977, section 3: the bottleneck of a convolutional autoencoder of the
teacher's maps is the teacher's factor, a translator makes one of the student's, and the two are
compared at length 1, by the mean absolute difference as in RepDistiller (weight 200).

The paper trains the paraphraser beforehand; here it is trained along. Its reconstruction is a term
of the loss, and the only one that reaches it: to the student's term the teacher's factor is given.
The loss's weight, where above 1, is taken out of that term again: it is the student's, and 200
times the learning rate would make the paraphraser diverge. There is no batch norm, so that an
example's value does not depend on its batch.

Shapes: B = batch, D = channels of a layer, K = channels of a factor, H, W = height and width.
"""

import itertools

from torch import Tensor, nn

from app.contracts.feature_losses import Factor
from worker.distillation.features import (
    PairedLoss,
    Shape,
    as_vectors_BF,
    require_maps,
    shapes_of,
    unit_length,
)
from worker.distillation.loss import Loss, Setting
from worker.distillation.pooling import pooling_to_meet

SLOPE = 0.1
"""Of the leaky ReLUs, for negative values; the paper's."""


def factor_B(student_BKHW: Tensor, teacher_BKHW: Tensor) -> Tensor:
    """Return each example's mean absolute difference of two factors, each at length 1."""
    student_BF, teacher_BF = (as_vectors_BF(each) for each in (student_BKHW, teacher_BKHW))
    return (unit_length(student_BF) - unit_length(teacher_BF)).abs().mean(dim=1)


class Comparison(nn.Module):
    def __init__(self, student: Shape, teacher: Shape, spec: Factor) -> None:
        super().__init__()
        channels = max(1, round(teacher[0] * spec.rate))
        self.share_of_error = 1 / max(spec.weight, 1.0)
        self.of_student, self.of_teacher = (
            pooling_to_meet(student, teacher),
            pooling_to_meet(teacher, student),
        )
        self.translator = _convolutions(student[0], student[0], channels, channels)
        self.paraphraser = _convolutions(teacher[0], teacher[0], channels, channels)
        self.decoder = _convolutions(channels, channels, teacher[0], teacher[0])

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        teacher_BDHW = self.of_teacher(teacher)
        teacher_BKHW = self.paraphraser(teacher_BDHW)
        reconstruction_BDHW = self.decoder(teacher_BKHW)
        error_B = (reconstruction_BDHW - teacher_BDHW).square().mean(dim=(1, 2, 3))
        student_BKHW = self.translator(self.of_student(student))
        distance_B = factor_B(student_BKHW, teacher_BKHW.detach())
        total_B: Tensor = distance_B + self.share_of_error * error_B
        return total_B


def build(spec: Factor, setting: Setting) -> Loss:
    """Return the loss with new paraphrasers and translators, from torch's global generator.

    Raises:
        BadInput: a layer gives no map.
    """
    comparisons = []
    for pair in spec.layers:
        student, teacher = shapes_of(pair, setting)
        require_maps(pair, student, teacher)
        comparisons.append(Comparison(student, teacher, spec))
    return PairedLoss(spec.layers, comparisons)


def _convolutions(*channels: int) -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(channels):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers[:-1])  # what it gives may be of either sign
