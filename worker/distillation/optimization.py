"""Optimizers, and the learning rate as a pure function of the step: nothing to keep or restore."""

import bisect
import math
from collections.abc import Iterable

import torch
from torch import nn

from app.contracts.training import AnyOptimizer, AnySchedule, Cosine, OneCycle, Sgd, Step

FIRST_SHARE = 1 / 25
"""Of the peak, where one cycle starts; this and the next are torch's own choice."""
LAST_SHARE = FIRST_SHARE / 1e4
FEWEST_TO_RISE_IN = 3
"""Steps of one cycle: of two, one that starts low and one that ends low would learn nothing."""


def build_optimizer(
    parameters: Iterable[nn.Parameter], spec: AnyOptimizer
) -> torch.optim.Optimizer:
    """Return the optimizer at its peak rate; weight decay reaches every parameter."""
    if isinstance(spec, Sgd):
        return torch.optim.SGD(
            parameters,
            lr=spec.lr,
            momentum=spec.momentum,
            nesterov=spec.nesterov,
            weight_decay=spec.weight_decay,
            fused=True,
        )
    return torch.optim.AdamW(
        parameters,
        lr=spec.lr,
        betas=(spec.beta1, spec.beta2),
        weight_decay=spec.weight_decay,
        fused=True,
    )


def rate(schedule: AnySchedule, step: int, num_steps: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step (from 0), as a share of the peak."""
    if isinstance(schedule, OneCycle):
        return _one_cycle(step, num_steps, schedule.rise)
    warmup_steps = schedule.warmup_epochs * steps_per_epoch
    warmth = min(1.0, (step + 1) / max(warmup_steps, 1.0))
    if isinstance(schedule, Cosine):
        done = max(step - warmup_steps, 0.0) / max(num_steps - 1 - warmup_steps, 1.0)
        return warmth * _between(1.0, schedule.final, done)
    if isinstance(schedule, Step):
        epochs_done = step // steps_per_epoch
        return warmth * schedule.factor ** bisect.bisect_right(
            sorted(schedule.milestones), epochs_done
        )
    return warmth


def _one_cycle(step: int, num_steps: int, rise: float) -> float:
    if num_steps < FEWEST_TO_RISE_IN:  # the first is the peak
        return (1.0, LAST_SHARE)[step]
    peak = rise * num_steps - 1
    if step <= peak:
        return _between(FIRST_SHARE, 1.0, step / max(peak, 1))
    return _between(1.0, LAST_SHARE, (step - peak) / (num_steps - 1 - peak))


def _between(start: float, end: float, done: float) -> float:
    """Go from ``start`` to ``end`` along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
