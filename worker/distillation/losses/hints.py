"""Hints: match the teacher's hidden features through a learned regressor.

Romero et al., 2015, "FitNets: Hints for Thin Deep Nets", https://arxiv.org/abs/1412.6550,
section 2.2; the distance is the mean over a feature's elements, so that a weight means the same for
maps of any size (that of Tian et al., 2020, is 100). Summed over the pairs.

Shapes: B = batch, F = features of a vector, D = channels, H, W = height and width of a map.
"""

from torch import Tensor, nn

from app.contracts.feature_losses import Hints
from worker.distillation.features import (
    MAP,
    PairedLoss,
    Shape,
    meeting,
    require_vectors_or_maps,
    shapes_of,
)
from worker.distillation.loss import Loss, Setting


def hints_B(student: Tensor, teacher: Tensor) -> Tensor:
    """Return each example's mean squared difference of two features of one shape (B, ...)."""
    return (student - teacher).square().flatten(1).mean(dim=1)


class Regression(nn.Module):
    """Carries the student's feature to what the teacher's is at the size where the two meet.

    Linear for vectors, a 1x1 convolution for maps; a map beside a vector is averaged first.
    """

    def __init__(self, student: Shape, teacher: Shape) -> None:
        super().__init__()
        self.of_student, self.of_teacher = meeting(student, teacher)
        of_maps = len(student) == len(teacher) == MAP
        # After the pooling: the two are linear and commute, and fewer pixels are then regressed.
        self.regressor = (
            nn.Conv2d(student[0], teacher[0], 1) if of_maps else nn.Linear(student[0], teacher[0])
        )

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return hints_B(self.regressor(self.of_student(student)), self.of_teacher(teacher))


def build(spec: Hints, setting: Setting) -> Loss:
    """Return the loss with new regressors, drawn from torch's global generator.

    Raises:
        BadInput: a layer gives neither vectors nor maps.
    """
    regressions = []
    for pair in spec.layers:
        student, teacher = shapes_of(pair, setting)
        require_vectors_or_maps(pair, student, teacher)
        regressions.append(Regression(student, teacher))
    return PairedLoss(spec.layers, regressions)
