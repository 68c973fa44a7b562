"""Standardised logits: match the teacher's soft targets after a z-score of each example's logits.

Sun et al., 2024, "Logit Standardization in Knowledge Distillation" (LSKD),
https://arxiv.org/abs/2403.01427, algorithms 1 and 2: the deviation is that over all C classes, not
over C - 1 as in the authors' code.

Shapes: B = batch, C = classes.
"""

import math

from torch import Tensor
from torch.nn import functional as F

from app.contracts.response_losses import LogitStandardized
from worker.distillation.distributions import divergence_B, log_probs_BDO
from worker.distillation.loss import Loss, Setting
from worker.distillation.signals import Batch, Signals

LEAST_DEVIATION = 1e-4
"""Smaller ones count as this: logits that are all but equal would be divided by rounding errors."""


def logit_standardized_B(student_BC: Tensor, teacher_BC: Tensor, temperature: float) -> Tensor:
    """Return each example's KL(teacher || student) of z-scores at ``temperature``, in nats.

    Scaled by the temperature squared, so that gradients keep their size as it grows. It needs three
    classes: of two, every z-score is 1 or -1.
    """
    student_log_probs_BDO = log_probs_BDO(_z_scores_BC(student_BC), temperature, "classification")
    teacher_log_probs_BDO = log_probs_BDO(_z_scores_BC(teacher_BC), temperature, "classification")
    return divergence_B(teacher_log_probs_BDO, student_log_probs_BDO) * temperature**2


class LogitStandardizedLoss(Loss):
    def __init__(self, spec: LogitStandardized) -> None:
        super().__init__()
        self.temperature = spec.temperature

    def forward(self, student: Signals, teacher: Signals, batch: Batch, step: int) -> Tensor:
        return logit_standardized_B(student.logits_BC, teacher.logits_BC, self.temperature)


def build(spec: LogitStandardized, setting: Setting) -> Loss:
    return LogitStandardizedLoss(spec)


def _z_scores_BC(logits_BC: Tensor) -> Tensor:
    """Return logits less their mean, over their deviation; equal logits have a finite gradient."""
    centred_BC = logits_BC - logits_BC.mean(dim=-1, keepdim=True)
    root = math.sqrt(logits_BC.shape[-1])
    return F.normalize(centred_BC, dim=-1, eps=LEAST_DEVIATION * root) * root
