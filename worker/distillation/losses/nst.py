"""Neuron selectivity transfer: match the distribution of what a layer's channels look at.

Huang and Wang, 2017, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer",
https://arxiv.org/abs/1707.01219, section 4: each channel's map, flattened and at length 1, is one
sample; the loss is the squared maximum mean discrepancy between the teacher's samples and the
student's under the polynomial kernel (x.y)^2, that is d = 2 and c = 0. Summed over the pairs; the
usual weight is 50 (Tian et al., 2020). Maps of two sizes are averaged into the smaller.

Shapes: B = batch, D = channels, E = channels of another map, H, W = height and width, P = pixels.
"""

from torch import Tensor, nn

from app.contracts.feature_losses import Nst
from worker.distillation.features import (
    PairedLoss,
    Shape,
    meeting,
    require_maps,
    shapes_of,
    unit_length,
)
from worker.distillation.loss import Loss, Setting


def nst_B(student_BDHW: Tensor, teacher_BEHW: Tensor) -> Tensor:
    """Return each example's squared discrepancy of two maps of one height and width."""
    student_BDP = unit_length(student_BDHW.flatten(2))
    teacher_BEP = unit_length(teacher_BEHW.flatten(2))
    within_B = kernel_B(student_BDP, student_BDP) + kernel_B(teacher_BEP, teacher_BEP)
    return within_B - 2 * kernel_B(student_BDP, teacher_BEP)


def kernel_B(samples_BDP: Tensor, others_BEP: Tensor) -> Tensor:
    """Return the kernel's mean over all pairs of samples."""
    return (samples_BDP @ others_BEP.mT).square().mean(dim=(1, 2))


class Comparison(nn.Module):
    """Compares two maps of any size and any number of channels."""

    def __init__(self, student: Shape, teacher: Shape) -> None:
        super().__init__()
        self.of_student, self.of_teacher = meeting(student, teacher)

    def forward(self, student_BDHW: Tensor, teacher_BEHW: Tensor) -> Tensor:
        return nst_B(self.of_student(student_BDHW), self.of_teacher(teacher_BEHW))


def build(spec: Nst, setting: Setting) -> Loss:
    """Return the loss; it learns nothing.

    Raises:
        BadInput: a layer gives no maps.
    """
    comparisons = []
    for pair in spec.layers:
        student, teacher = shapes_of(pair, setting)
        require_maps(pair, student, teacher)
        comparisons.append(Comparison(student, teacher))
    return PairedLoss(spec.layers, comparisons)
