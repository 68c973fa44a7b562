"""Reverse KL: the student stays where the teacher is sure, rather than cover all that it allows.

Gu et al., 2024, "MiniLLM: Knowledge Distillation of Large Language Models",
https://arxiv.org/abs/2306.08543, section 2.1; here of classes or labels, at a temperature.

Shapes: B = batch, C = classes or labels.
"""

from torch import Tensor

from app.contracts.dataset import Task
from app.contracts.response_losses import ReverseKl
from worker.distillation.distributions import divergence_B, log_probs_BDO
from worker.distillation.loss import Loss, Setting
from worker.distillation.signals import Batch, Signals


def reverse_kl_B(
    student_BC: Tensor, teacher_BC: Tensor, temperature: float, task: Task = "classification"
) -> Tensor:
    """Return each example's KL(student || teacher) at ``temperature``, in nats.

    Scaled by the temperature squared, so that gradients keep their size as it grows. Of several
    labels, each its own distribution, it is the mean.
    """
    student_log_probs_BDO = log_probs_BDO(student_BC, temperature, task)
    teacher_log_probs_BDO = log_probs_BDO(teacher_BC, temperature, task)
    return divergence_B(student_log_probs_BDO, teacher_log_probs_BDO) * temperature**2


class ReverseKlLoss(Loss):
    def __init__(self, spec: ReverseKl, task: Task) -> None:
        super().__init__()
        self.temperature = spec.temperature
        self.task = task

    def forward(self, student: Signals, teacher: Signals, batch: Batch, step: int) -> Tensor:
        return reverse_kl_B(student.logits_BC, teacher.logits_BC, self.temperature, self.task)


def build(spec: ReverseKl, setting: Setting) -> Loss:
    return ReverseKlLoss(spec, setting.task)
