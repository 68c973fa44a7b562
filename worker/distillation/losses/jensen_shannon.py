"""Jensen-Shannon: both models are compared with a mixture of the two, so no value is unbounded.

Agarwal et al., 2024, "On-Policy Distillation of Language Models: Learning from Self-Generated
Mistakes" (GKD), https://arxiv.org/abs/2306.13649, section 2, the generalised divergence.

Shapes: B = batch, C = classes or labels; D, O as in ``distributions``.
"""

import math

import torch
from torch import Tensor

from app.contracts.dataset import Task
from app.contracts.response_losses import JensenShannon
from worker.distillation.distributions import divergence_B, log_probs_BDO
from worker.distillation.loss import Loss, Setting
from worker.distillation.signals import Batch, Signals


def jensen_shannon_B(
    student_BC: Tensor,
    teacher_BC: Tensor,
    temperature: float,
    beta: float,
    task: Task = "classification",
) -> Tensor:
    """Return ``beta`` KL(teacher || mixture) + (1 - ``beta``) KL(student || mixture), in nats.

    The mixture has ``beta`` of the teacher and the rest of the student, both at ``temperature``,
    whose square scales the value, so that gradients keep their size as it grows. Of several labels,
    each its own distribution, it is the mean.
    """
    student_log_probs_BDO = log_probs_BDO(student_BC, temperature, task)
    teacher_log_probs_BDO = log_probs_BDO(teacher_BC, temperature, task)
    mixture_log_probs_BDO = torch.logaddexp(
        teacher_log_probs_BDO + math.log(beta), student_log_probs_BDO + math.log1p(-beta)
    )
    of_teacher_B = divergence_B(teacher_log_probs_BDO, mixture_log_probs_BDO)
    of_student_B = divergence_B(student_log_probs_BDO, mixture_log_probs_BDO)
    return (beta * of_teacher_B + (1 - beta) * of_student_B) * temperature**2


class JensenShannonLoss(Loss):
    def __init__(self, spec: JensenShannon, task: Task) -> None:
        super().__init__()
        self.temperature = spec.temperature
        self.beta = spec.beta
        self.task = task

    def forward(self, student: Signals, teacher: Signals, batch: Batch, step: int) -> Tensor:
        return jensen_shannon_B(
            student.logits_BC, teacher.logits_BC, self.temperature, self.beta, self.task
        )


def build(spec: JensenShannon, setting: Setting) -> Loss:
    return JensenShannonLoss(spec, setting.task)
