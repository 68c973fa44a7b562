"""Activation boundaries: match which of the teacher's neurons fire, before their ReLU.

Heo et al., 2019, "Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden
Neurons", https://arxiv.org/abs/1811.03233, the loss with a margin: a squared hinge that pushes the
student's response beyond it on the side where the teacher's lies. Only the sign of the teacher's
counts, and 0 is on the silent side. A learned 1x1 convolution connects the two, without the paper's
batch norm, so that an example's value does not depend on its batch. The mean over the elements,
summed over the pairs.

Shapes: B = batch, D = channels, H, W = height and width.
"""

from torch import Tensor, nn

from app.contracts.feature_losses import ActivationBoundary
from worker.distillation.features import PairedLoss, Shape, require_maps, shapes_of
from worker.distillation.loss import Loss, Setting
from worker.distillation.pooling import pooling_to_meet


def activation_boundary_B(student_BDHW: Tensor, teacher_BDHW: Tensor, margin: float) -> Tensor:
    """Return each example's mean squared distance to ``margin`` beyond the teacher's side of 0."""
    fires = teacher_BDHW > 0
    short_BDHW = (margin - student_BDHW).where(fires, margin + student_BDHW).relu()
    return short_BDHW.square().mean(dim=(1, 2, 3))


class Comparison(nn.Module):
    def __init__(self, student: Shape, teacher: Shape, margin: float) -> None:
        super().__init__()
        self.of_student, self.of_teacher = (
            pooling_to_meet(student, teacher),
            pooling_to_meet(teacher, student),
        )
        self.connector = nn.Conv2d(student[0], teacher[0], 1)
        self.margin = margin

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student_BDHW = self.connector(self.of_student(student))
        return activation_boundary_B(student_BDHW, self.of_teacher(teacher), self.margin)


def build(spec: ActivationBoundary, setting: Setting) -> Loss:
    """Return the loss with new connectors, drawn from torch's global generator.

    Raises:
        BadInput: a layer gives no map.
    """
    comparisons = []
    for pair in spec.layers:
        student, teacher = shapes_of(pair, setting)
        require_maps(pair, student, teacher)
        comparisons.append(Comparison(student, teacher, spec.margin))
    return PairedLoss(spec.layers, comparisons)
