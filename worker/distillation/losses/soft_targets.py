"""Soft targets: match the teacher's softened class probabilities.

Hinton, Vinyals and Dean, 2015, "Distilling the Knowledge in a Neural Network",
https://arxiv.org/abs/1503.02531, section 2.

Shapes: B = batch, C = classes.
"""

from torch import Tensor
from torch.nn import functional as F

from app.contracts.response_losses import SoftTargets
from worker.distillation.loss import Loss, Setting
from worker.distillation.signals import Batch, Signals


def soft_targets_B(student_BC: Tensor, teacher_BC: Tensor, temperature: float) -> Tensor:
    """Return each example's KL(teacher || student) at ``temperature``, in nats.

    Scaled by the temperature squared, so that gradients keep their size as it grows.
    """
    student_log_probs_BC = F.log_softmax(student_BC / temperature, dim=-1)
    teacher_log_probs_BC = F.log_softmax(teacher_BC / temperature, dim=-1)
    divergence_BC = teacher_log_probs_BC.exp() * (teacher_log_probs_BC - student_log_probs_BC)
    return divergence_BC.sum(dim=-1) * temperature**2


class SoftTargetsLoss(Loss):
    def __init__(self, spec: SoftTargets) -> None:
        super().__init__()
        self.temperature = spec.temperature

    def forward(self, student: Signals, teacher: Signals, batch: Batch, step: int) -> Tensor:
        return soft_targets_B(student.logits_BC, teacher.logits_BC, self.temperature)


def build(spec: SoftTargets, setting: Setting) -> Loss:
    return SoftTargetsLoss(spec)
