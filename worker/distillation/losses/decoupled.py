"""Decoupled: match the target class against the rest, and the rest among itself, apart.

Zhao et al., 2022, "Decoupled Knowledge Distillation" (DKD), https://arxiv.org/abs/2203.08679,
equation 7 and algorithm 1.

Shapes: B = batch, C = classes.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from app.contracts.response_losses import Decoupled
from worker.distillation.distributions import divergence_B, log_probs_BDO
from worker.distillation.loss import Loss, Setting
from worker.distillation.signals import Batch, Signals


def decoupled_B(
    student_BC: Tensor,
    teacher_BC: Tensor,
    classes_B: Tensor,
    temperature: float,
    target_weight: float,
    other_weight: float,
) -> Tensor:
    """Return the weighted sum of both divergences KL(teacher || student), in nats.

    Scaled by the temperature squared, so that gradients keep their size as it grows. It needs three
    classes: of two, the rest is a single one, certain in both models.
    """
    is_target_BC = classes_B.unsqueeze(-1) == torch.arange(
        student_BC.shape[-1], device=classes_B.device
    )
    student_BC, teacher_BC = student_BC / temperature, teacher_BC / temperature
    target_B = _target_divergence_B(student_BC, teacher_BC, is_target_BC)
    other_B = _other_divergence_B(student_BC, teacher_BC, is_target_BC)
    return (target_weight * target_B + other_weight * other_B) * temperature**2


class DecoupledLoss(Loss):
    def __init__(self, spec: Decoupled) -> None:
        super().__init__()
        self.temperature = spec.temperature
        self.target_weight = spec.target_weight
        self.other_weight = spec.other_weight

    def forward(self, student: Signals, teacher: Signals, batch: Batch, step: int) -> Tensor:
        return decoupled_B(
            student.logits_BC,
            teacher.logits_BC,
            batch.labels,
            self.temperature,
            self.target_weight,
            self.other_weight,
        )


def build(spec: Decoupled, setting: Setting) -> Loss:
    return DecoupledLoss(spec)


def _target_divergence_B(student_BC: Tensor, teacher_BC: Tensor, is_target_BC: Tensor) -> Tensor:
    """Return the divergence of the two outcomes: the target class, or any other (TCKD)."""
    teacher_log_probs_BDO = log_probs_BDO(_margin_B1(teacher_BC, is_target_BC), 1.0, "multi_label")
    student_log_probs_BDO = log_probs_BDO(_margin_B1(student_BC, is_target_BC), 1.0, "multi_label")
    return divergence_B(teacher_log_probs_BDO, student_log_probs_BDO)


def _margin_B1(logits_BC: Tensor, is_target_BC: Tensor) -> Tensor:
    """Return the log-odds of the target class against all others."""
    target_B1 = logits_BC.where(is_target_BC, 0.0).sum(dim=-1, keepdim=True)
    others_BC = logits_BC.masked_fill(is_target_BC, -math.inf)
    return target_B1 - others_BC.logsumexp(dim=-1, keepdim=True)


def _other_divergence_B(student_BC: Tensor, teacher_BC: Tensor, is_target_BC: Tensor) -> Tensor:
    """Return the divergence of the other classes, given that it is none but them (NCKD)."""
    student_log_probs_BC = F.log_softmax(student_BC.masked_fill(is_target_BC, -math.inf), dim=-1)
    teacher_log_probs_BC = F.log_softmax(teacher_BC.masked_fill(is_target_BC, -math.inf), dim=-1)
    # Of the target both are minus infinity, and their difference no number.
    ratio_BC = (teacher_log_probs_BC - student_log_probs_BC).masked_fill(is_target_BC, 0.0)
    return (teacher_log_probs_BC.exp() * ratio_BC).sum(dim=-1)
