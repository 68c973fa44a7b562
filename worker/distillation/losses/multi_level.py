"""Multi-level: match instances, the relations in the batch and those of classes, at temperatures.

Jin, Wang and Lin, 2023, "Multi-Level Logit Distillation" (MLKD), CVPR, section 3. As in the
authors' code, instances have the squared temperature and the two relations have not; its masks by
confidence, which the code applies to already summed values, are left out.

Shapes: B = batch, C = classes.
"""

from collections.abc import Sequence

from torch import Tensor

from app.contracts.response_losses import MultiLevel
from worker.distillation.distributions import divergence_B, log_probs_BDO
from worker.distillation.loss import Loss, Setting
from worker.distillation.signals import Batch, Signals


def multi_level_B(student_BC: Tensor, teacher_BC: Tensor, temperatures: Sequence[float]) -> Tensor:
    """Return the sum over temperatures of the three levels; its mean is the published value.

    An instance is each example's KL(teacher || student), in nats, times the temperature squared. Of
    the products of examples (B, B), each example has its row's squared differences; of the products
    of classes (C, C), all have the same, their squared differences over C, which grow with B.
    """
    return sum(
        (_levels_B(student_BC, teacher_BC, temperature) for temperature in temperatures),
        start=student_BC.new_zeros(len(student_BC)),
    )


class MultiLevelLoss(Loss):
    def __init__(self, spec: MultiLevel) -> None:
        super().__init__()
        self.temperatures = spec.temperatures

    def forward(self, student: Signals, teacher: Signals, batch: Batch, step: int) -> Tensor:
        return multi_level_B(student.logits_BC, teacher.logits_BC, self.temperatures)


def build(spec: MultiLevel, setting: Setting) -> Loss:
    return MultiLevelLoss(spec)


def _levels_B(student_BC: Tensor, teacher_BC: Tensor, temperature: float) -> Tensor:
    student_log_probs_BDO = log_probs_BDO(student_BC, temperature, "classification")
    teacher_log_probs_BDO = log_probs_BDO(teacher_BC, temperature, "classification")
    instance_B = divergence_B(teacher_log_probs_BDO, student_log_probs_BDO) * temperature**2
    student_BC, teacher_BC = (
        student_log_probs_BDO.squeeze(1).exp(),
        teacher_log_probs_BDO.squeeze(1).exp(),
    )
    batch_BB = student_BC @ student_BC.T - teacher_BC @ teacher_BC.T
    class_CC = student_BC.T @ student_BC - teacher_BC.T @ teacher_BC
    return instance_B + batch_BB.square().sum(dim=-1) + class_CC.square().sum(dim=-1).mean()
