"""The objective of a training: losses, each with its weight.

Shapes: B = batch, K = losses.
"""

import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from app.contracts.objective import AnyLoss
from worker.distillation.loss import Loss, Needs, Shapes
from worker.distillation.signals import Batch, Signals


class _Family(Protocol):
    """What every module in ``losses`` offers."""

    needs: Callable[[AnyLoss], Needs]
    build: Callable[[AnyLoss, Shapes, Shapes], Loss]


class Objective(nn.Module):
    """Runs every loss on one batch; its parameters are those of the losses."""

    weights_K: Tensor

    def __init__(self, names: list[str], losses: list[Loss], weights: list[float]) -> None:
        super().__init__()
        self.names = names
        self.weights = weights
        self.losses = nn.ModuleList(losses)
        self.register_buffer("weights_K", torch.tensor(weights))

    def forward(self, student: Signals, teacher: Signals, batch: Batch, step: int) -> Tensor:
        """Return every loss of every example (K, B), not weighted."""
        return torch.stack([loss(student, teacher, batch, step) for loss in self.losses])


def needs(specs: Sequence[AnyLoss]) -> Needs:
    """Return what the losses need together."""
    each = [_family(spec).needs(spec) for spec in specs]
    return Needs(
        teacher=any(one.teacher for one in each),
        student_layers=_union(one.student_layers for one in each),
        teacher_layers=_union(one.teacher_layers for one in each),
    )


def build_objective(
    specs: Sequence[AnyLoss], student_shapes: Shapes, teacher_shapes: Shapes, seed: int
) -> Objective:
    """Return the objective, on the CPU; what its losses draw is a function of ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        losses = [_family(spec).build(spec, student_shapes, teacher_shapes) for spec in specs]
    return Objective(_names(specs), losses, [spec.weight for spec in specs])


def _family(spec: AnyLoss) -> _Family:
    return cast("_Family", importlib.import_module(f"worker.distillation.losses.{spec.loss}"))


def _union(layers: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path for paths in layers for path in paths))


def _names(specs: Sequence[AnyLoss]) -> list[str]:
    """Name each loss for its series: `soft_targets`, and a second one `soft_targets_2`."""
    seen: Counter[str] = Counter()
    names = []
    for spec in specs:
        seen[spec.loss] += 1
        names.append(spec.loss if seen[spec.loss] == 1 else f"{spec.loss}_{seen[spec.loss]}")
    return names
