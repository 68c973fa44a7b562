"""Attention: match maps of where a layer is active.

Zagoruyko and Komodakis, 2017, "Paying More Attention to Attention",
https://arxiv.org/abs/1612.03928, section 3.1: the sum over channels of powers of absolute
activations, flattened and of length 1, compared and summed over the pairs. The paper's formula
takes the length of a difference; its authors' code and those after it, whose usual weight is 1000
(Tian et al., 2020), take the mean of its squares, and so does this. Attention of two sizes is
averaged into the smaller, before its length is taken.

Shapes: B = batch, D = channels, H, W = height and width, P = pixels (H times W).
"""

from torch import Tensor, nn

from app.contracts.feature_losses import Attention
from worker.distillation.features import (
    PairedLoss,
    Shape,
    as_vectors_BF,
    require_maps,
    scaled_to_one,
    shapes_of,
    unit_length,
)
from worker.distillation.loss import Loss, Setting
from worker.distillation.pooling import pooling_to_meet


def attention_B1HW(features_BDHW: Tensor, exponent: float) -> Tensor:
    """Return where a map is active, at any scale: its length is not yet 1."""
    # Else the power of a large or a small activation would leave float32.
    scaled_BDHW = scaled_to_one(features_BDHW, dims=(1, 2, 3))
    return scaled_BDHW.abs().pow(exponent).sum(dim=1, keepdim=True)


def attention_transfer_B(student_B1HW: Tensor, teacher_B1HW: Tensor) -> Tensor:
    """Return the mean squared difference of two attentions of one size, each at length 1."""
    student_BP = unit_length(as_vectors_BF(student_B1HW))
    teacher_BP = unit_length(as_vectors_BF(teacher_B1HW))
    return (student_BP - teacher_BP).square().mean(dim=1)


class Comparison(nn.Module):
    """Compares two maps of any size and any number of channels."""

    def __init__(self, student: Shape, teacher: Shape, exponent: float) -> None:
        super().__init__()
        self.exponent = exponent
        self.of_student = pooling_to_meet(student, teacher)
        self.of_teacher = pooling_to_meet(teacher, student)

    def forward(self, student_BDHW: Tensor, teacher_BDHW: Tensor) -> Tensor:
        return attention_transfer_B(
            self.of_student(attention_B1HW(student_BDHW, self.exponent)),
            self.of_teacher(attention_B1HW(teacher_BDHW, self.exponent)),
        )


def build(spec: Attention, setting: Setting) -> Loss:
    """Return the loss; it learns nothing.

    Raises:
        BadInput: a layer gives no maps.
    """
    comparisons = []
    for pair in spec.layers:
        student, teacher = shapes_of(pair, setting)
        require_maps(pair, student, teacher)
        comparisons.append(Comparison(student, teacher, spec.exponent))
    return PairedLoss(spec.layers, comparisons)
