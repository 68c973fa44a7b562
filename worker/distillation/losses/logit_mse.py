"""Logit MSE: match the teacher's logits, or its predictions in regression, by squared error.

Ba and Caruana, 2014, "Do Deep Nets Really Need to be Deep?", https://arxiv.org/abs/1312.6184,
section 2.2; the mean over outputs in place of half their sum, so that a weight means the same for
any number of them.

Shapes: B = batch, C = outputs.
"""

from torch import Tensor

from app.contracts.response_losses import LogitMse
from worker.distillation.loss import Loss, Setting
from worker.distillation.signals import Batch, Signals


def logit_mse_B(student_BC: Tensor, teacher_BC: Tensor) -> Tensor:
    """Return each example's squared difference, averaged over outputs."""
    return (student_BC - teacher_BC).square().mean(dim=-1)


class LogitMseLoss(Loss):
    def forward(self, student: Signals, teacher: Signals, batch: Batch, step: int) -> Tensor:
        return logit_mse_B(student.logits_BC, teacher.logits_BC)


def build(spec: LogitMse, setting: Setting) -> Loss:
    return LogitMseLoss()
