"""Hints: match the teacher's hidden features through a learned regressor.

Romero et al., 2015, "FitNets: Hints for Thin Deep Nets", https://arxiv.org/abs/1412.6550,
section 2.2; the distance is the mean over a feature's elements, so that a weight means the same for
maps of any size (that of Tian et al., 2020, is 100).

Shapes: B = batch, F = features of a vector, D = channels, H, W = height and width of a map.
"""

import torch
from torch import Tensor, nn

from app.contracts.feature_losses import Hints
from app.contracts.loss import LayerPair
from worker.distillation.errors import BadInput
from worker.distillation.loss import Loss, Setting
from worker.distillation.pooling import pooling_to_meet
from worker.distillation.signals import Batch, Signals

VECTOR, MAP = 1, 3
"""How many dimensions a feature has without its batch: (F) or (D, H, W)."""


def hints_B(student: Tensor, teacher: Tensor) -> Tensor:
    """Return each example's mean squared difference of two features of one shape (B, ...)."""
    return (student - teacher).square().flatten(1).mean(dim=1)


class HintsLoss(Loss):
    """The sum over the pairs; a regressor carries each student's feature to its teacher's shape."""

    def __init__(self, spec: Hints, setting: Setting) -> None:
        super().__init__()
        self.pairs = spec.layers
        self.regressors = nn.ModuleList()
        self.poolings = nn.ModuleList()
        for pair in spec.layers:
            student, teacher = (
                setting.student_shapes[pair.student],
                setting.teacher_shapes[pair.teacher],
            )
            _check(pair, student, teacher)
            self.regressors.append(_regressor(student, teacher))
            self.poolings.append(pooling_to_meet(teacher, student))

    def forward(self, student: Signals, teacher: Signals, batch: Batch, step: int) -> Tensor:
        total_B = torch.zeros_like(student.logits_BC[:, 0])
        for pair, regressor, pooling in zip(
            self.pairs, self.regressors, self.poolings, strict=True
        ):
            regressed = regressor(student.features[pair.student])
            total_B = total_B + hints_B(regressed, pooling(teacher.features[pair.teacher]))
        return total_B


def build(spec: Hints, setting: Setting) -> Loss:
    """Return the loss with new regressors, drawn from torch's global generator.

    Raises:
        BadInput: a pair is not of two vectors or of two maps.
    """
    return HintsLoss(spec, setting)


def _check(pair: LayerPair, student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    if len(student) == len(teacher) and len(student) in (VECTOR, MAP):
        return
    raise BadInput(
        "layers_do_not_pair",
        f"student layer {pair.student!r} gives {_shown(student)} and teacher layer "
        f"{pair.teacher!r} gives {_shown(teacher)}; expected two vectors or two image maps",
        hint="pair layers of the same kind",
    )


def _shown(shape: tuple[int, ...]) -> str:
    return "x".join(["batch", *map(str, shape)])


def _regressor(student: tuple[int, ...], teacher: tuple[int, ...]) -> nn.Module:
    if len(student) == VECTOR:
        return nn.Linear(student[0], teacher[0])
    # Pooled first: the two are linear and commute, and fewer pixels are then regressed.
    return nn.Sequential(pooling_to_meet(student, teacher), nn.Conv2d(student[0], teacher[0], 1))
