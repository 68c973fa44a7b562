"""Soft targets: match the teacher's softened class probabilities.

Hinton, Vinyals and Dean, 2015, "Distilling the Knowledge in a Neural Network",
https://arxiv.org/abs/1503.02531, section 2.

Shapes: B = batch, C = classes or labels.
"""

from torch import Tensor

from app.contracts.dataset import Task
from app.contracts.response_losses import SoftTargets
from worker.distillation.distributions import divergence_B, log_probs_BDO
from worker.distillation.loss import Loss, Setting
from worker.distillation.signals import Batch, Signals


def soft_targets_B(
    student_BC: Tensor, teacher_BC: Tensor, temperature: float, task: Task = "classification"
) -> Tensor:
    """Return each example's KL(teacher || student) at ``temperature``, in nats.

    Scaled by the temperature squared, so that gradients keep their size as it grows. Of several
    labels, each its own distribution, it is the mean.
    """
    student_log_probs_BDO = log_probs_BDO(student_BC, temperature, task)
    teacher_log_probs_BDO = log_probs_BDO(teacher_BC, temperature, task)
    return divergence_B(teacher_log_probs_BDO, student_log_probs_BDO) * temperature**2


class SoftTargetsLoss(Loss):
    def __init__(self, spec: SoftTargets, task: Task) -> None:
        super().__init__()
        self.temperature = spec.temperature
        self.task = task

    def forward(self, student: Signals, teacher: Signals, batch: Batch, step: int) -> Tensor:
        return soft_targets_B(student.logits_BC, teacher.logits_BC, self.temperature, self.task)


def build(spec: SoftTargets, setting: Setting) -> Loss:
    return SoftTargetsLoss(spec, setting.task)
