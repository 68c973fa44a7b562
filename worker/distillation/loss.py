"""What every loss is: it is built for a setting and gives one value an example.

Each module of ``losses`` offers ``build(spec, setting) -> Loss``.

Shapes: B = batch, N = all examples of the data, M = examples trained on, C = outputs.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from app.contracts.dataset import Task
from worker.distillation.signals import Batch, Signals

Shapes = Mapping[str, tuple[int, ...]]
"""Of the features at each module path, without the batch."""


@dataclass(frozen=True)
class Setting:
    """What a loss is built for."""

    student_shapes: Shapes = field(default_factory=dict)
    teacher_shapes: Shapes = field(default_factory=dict)
    task: Task = "classification"
    num_outputs: int = 0
    train_ids_M: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    """Ids, ascending, of the examples that the student trains on."""
    labels: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    """Of all N examples, by id; as in ``Batch``."""
    seed: int = 0


class Loss(nn.Module):
    """A term of an objective, before its weight.

    Parameters and buffers of its own are trained and checkpointed with the student and never leave
    training.
    """

    @abstractmethod
    def forward(self, student: Signals, teacher: Signals, batch: Batch, step: int) -> Tensor:
        """Return the loss of each example (B), neither averaged nor weighted.

        It changes no state: what a batch is worth must not depend on how it is cut.
        """

    def finish_step(self) -> None:
        """Take over, after an optimizer step, what its batches leave in memory; mostly nothing."""
