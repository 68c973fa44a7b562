"""What every loss is: it says what it needs and gives one value an example.

Each module of ``losses`` offers ``needs(spec) -> Needs`` and
``build(spec, student_shapes, teacher_shapes) -> Loss``.

Shapes: B = batch.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from worker.distillation.signals import Batch, Signals

Shapes = Mapping[str, tuple[int, ...]]
"""Of the features at each module path, without the batch."""


@dataclass(frozen=True)
class Needs:
    """What a loss reads besides the student's logits and the labels."""

    teacher: bool = False
    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()


class Loss(nn.Module):
    """A term of an objective, before its weight.

    Parameters of its own are trained with the student and never leave training.
    """

    @abstractmethod
    def forward(self, student: Signals, teacher: Signals, batch: Batch, step: int) -> Tensor:
        """Return the loss of each example (B), neither averaged nor weighted."""
