"""The objective of a training: losses, each with its weight.

Shapes: B = batch, K = losses, C = outputs.
"""

import importlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from app.contracts.dataset import Task
from app.contracts.loss import LossSpec, WeightSchedule
from app.contracts.objective import AnyLoss
from worker.distillation.errors import BadInput
from worker.distillation.loss import Loss, Setting
from worker.distillation.signals import Batch, Signals

_REASONS: dict[Task, str] = {
    "regression": ": predictions are numbers, not a distribution over classes",
    "multi_label": ": its labels are not exclusive, so their logits are no one distribution",
}


class _Family(Protocol):
    """What every module in ``losses`` offers."""

    build: Callable[[AnyLoss, Setting], Loss]


@dataclass(frozen=True)
class Needs:
    """What the losses of an objective read besides the student's answers and the labels."""

    teacher: bool
    student_layers: tuple[str, ...]
    teacher_layers: tuple[str, ...]


class Objective(nn.Module):
    """Runs every loss on one batch; its parameters are those of the losses."""

    def __init__(self, specs: Sequence[LossSpec], names: list[str], losses: list[Loss]) -> None:
        super().__init__()
        self.names = names
        self.losses = nn.ModuleList(losses)
        self._weights = [(spec.weight, spec.weight_schedule) for spec in specs]

    def forward(self, student: Signals, teacher: Signals, batch: Batch, step: int) -> Tensor:
        """Return every loss of every example (K, B), not weighted."""
        return torch.stack([loss(student, teacher, batch, step) for loss in self.losses])

    def weights(self, step: int, num_steps: int, steps_per_epoch: int) -> list[float]:
        """Return each loss's weight at a step (from 0) of a training of ``num_steps``."""
        return [
            weight * share(schedule, step, num_steps, steps_per_epoch)
            for weight, schedule in self._weights
        ]

    def finish_step(self) -> None:
        for loss in self.losses:
            cast("Loss", loss).finish_step()


def share(schedule: WeightSchedule, step: int, num_steps: int, steps_per_epoch: int) -> float:
    """Return the share of a loss's weight at a step, from 0 to 1: a pure function of the step."""
    warmup_steps = schedule.warmup_epochs * steps_per_epoch
    warmth = min(1.0, (step + 1) / max(warmup_steps, 1.0))
    done = min(max(step - warmup_steps, 0.0) / max(num_steps - 1 - warmup_steps, 1.0), 1.0)
    if schedule.decay == "cosine":
        done = (1 - math.cos(math.pi * done)) / 2
    elif schedule.decay == "none":
        done = 0.0
    return warmth * (1 + (schedule.final - 1) * done)


def needs(specs: Sequence[AnyLoss]) -> Needs:
    """Return what the losses need together; their layers are single ones, no globs."""
    pairs = [pair for spec in specs for pair in spec.pairs()]
    return Needs(
        teacher=any(spec.reads_teacher for spec in specs),
        student_layers=_distinct(pair.student for pair in pairs),
        teacher_layers=_distinct(pair.teacher for pair in pairs),
    )


def build_objective(specs: Sequence[AnyLoss], setting: Setting) -> Objective:
    """Return the objective, on the CPU; what its losses draw is a function of the seed.

    Raises:
        BadInput: a loss cannot work with the task, the outputs or the shapes of its layers.
    """
    for spec in specs:
        check_loss(spec, setting.task, setting.num_outputs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        losses = [_family(spec).build(spec, setting) for spec in specs]
    return Objective(specs, _names(specs), losses)


def check_loss(spec: AnyLoss, task: Task, num_outputs: int) -> None:
    """Refuse a loss that cannot work with the task.

    Raises:
        BadInput: saying why.
    """
    if task not in spec.tasks:
        raise BadInput(
            "loss_does_not_fit_task",
            f"loss {spec.loss!r} is for {' and '.join(spec.tasks)}, and the data is for {task}"
            f"{_REASONS.get(task, '')}",
            hint="use logit_mse, labels or losses of hidden layers"
            if task == "regression"
            else "use soft_targets, logit_mse, labels or losses of hidden layers",
        )
    if task == "classification" and num_outputs < spec.least_classes:
        raise BadInput(
            "too_few_classes",
            f"loss {spec.loss!r} needs at least {spec.least_classes} classes, and the data has "
            f"{num_outputs}: it compares how the teacher ranks the classes besides the right one, "
            "and with two there is only one",
            hint="use soft_targets",
        )


def _family(spec: AnyLoss) -> _Family:
    return cast("_Family", importlib.import_module(f"worker.distillation.losses.{spec.loss}"))


def _distinct(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(paths))


def _names(specs: Sequence[AnyLoss]) -> list[str]:
    """Name each loss for its series: `soft_targets`, and a second one `soft_targets_2`."""
    seen: Counter[str] = Counter()
    names = []
    for spec in specs:
        seen[spec.loss] += 1
        names.append(spec.loss if seen[spec.loss] == 1 else f"{spec.loss}_{seen[spec.loss]}")
    return names
