"""DIST: correlate with the teacher, between the classes of an example and within each class.

Huang et al., 2022, "Knowledge Distillation from A Stronger Teacher",
https://arxiv.org/abs/2205.10536, section 3: Pearson's distance 1 - correlation over the rows and
over the columns of the batch's probabilities, times the squared temperature as in the authors'
code.

Shapes: B = batch, C = classes.
"""

from torch import Tensor
from torch.nn import functional as F

from app.contracts.response_losses import Dist
from worker.distillation.loss import Loss, Setting
from worker.distillation.signals import Batch, Signals

LEAST_NORM = 1e-4
"""Of centred probabilities; smaller ones count as this, as equal ones have no correlation. The
authors add its square to the product of two norms."""


def dist_B(
    student_BC: Tensor,
    teacher_BC: Tensor,
    temperature: float,
    between_weight: float,
    within_weight: float,
) -> Tensor:
    """Return the weighted distances, from 0 to 2 each, times the temperature squared.

    Between classes it is each example's own. Within a class, over the batch, it is shared by what
    each example adds, so that the mean over the batch is the published value. A relation that is
    constant in both models is worth 0, and in one of them 1/2.
    """
    student_BC = (student_BC / temperature).softmax(dim=-1)
    teacher_BC = (teacher_BC / temperature).softmax(dim=-1)
    between_B = _distances_BC(student_BC, teacher_BC, dim=1).sum(dim=-1)
    within_B = _distances_BC(student_BC, teacher_BC, dim=0).mean(dim=-1) * len(student_BC)
    return (between_weight * between_B + within_weight * within_B) * temperature**2


class DistLoss(Loss):
    def __init__(self, spec: Dist) -> None:
        super().__init__()
        self.temperature = spec.temperature
        self.between_weight = spec.between_weight
        self.within_weight = spec.within_weight

    def forward(self, student: Signals, teacher: Signals, batch: Batch, step: int) -> Tensor:
        return dist_B(
            student.logits_BC,
            teacher.logits_BC,
            self.temperature,
            self.between_weight,
            self.within_weight,
        )


def build(spec: Dist, setting: Setting) -> Loss:
    return DistLoss(spec)


def _distances_BC(student_BC: Tensor, teacher_BC: Tensor, dim: int) -> Tensor:
    """Return what sums, over ``dim``, to 1 - correlation: half the squared difference of z-scores.

    Of unit vectors, |u - v|^2 = 2 - 2 u v; unlike 1 - u v it is exact between equals.
    """
    return (_unit_BC(student_BC, dim) - _unit_BC(teacher_BC, dim)).square() / 2


def _unit_BC(probabilities_BC: Tensor, dim: int) -> Tensor:
    centred_BC = probabilities_BC - probabilities_BC.mean(dim=dim, keepdim=True)
    return F.normalize(centred_BC, dim=dim, eps=LEAST_NORM)
