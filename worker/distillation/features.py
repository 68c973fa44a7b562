"""What losses of hidden layers share: kinds of shapes, one size for two, and sums over pairs.

Shapes: B = batch, F = features of a vector, D = channels, H, W = height and width of a map.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from app.contracts.loss import LayerPair
from worker.distillation.errors import BadInput
from worker.distillation.loss import Loss, Setting
from worker.distillation.pooling import GlobalAveragePooling, pooling_to_meet
from worker.distillation.signals import Batch, Signals

Shape = tuple[int, ...]
"""Of a feature without its batch."""
VECTOR, MAP = 1, 3
"""How many dimensions a shape has: (F) or (D, H, W)."""
SMALLEST = 1e-20
"""Values all below this count as zeros: they have no direction that float32 could tell."""


class PairedLoss(Loss):
    """The sum over pairs of layers of what a comparison makes of each.

    A comparison is a module that takes a student's and a teacher's feature (B, ...) and returns one
    value per example (B). Each pair has its own, so two pairs may share a layer.
    """

    def __init__(self, pairs: Sequence[LayerPair], comparisons: Iterable[nn.Module]) -> None:
        super().__init__()
        self.pairs = pairs
        self.comparisons = nn.ModuleList(comparisons)

    def forward(self, student: Signals, teacher: Signals, batch: Batch, step: int) -> Tensor:
        return torch.stack(
            [
                compare(student.features[pair.student], teacher.features[pair.teacher])
                for pair, compare in zip(self.pairs, self.comparisons, strict=True)
            ]
        ).sum(dim=0)


def shapes_of(pair: LayerPair, setting: Setting) -> tuple[Shape, Shape]:
    """Return the shapes of the student's and the teacher's layer."""
    return setting.student_shapes[pair.student], setting.teacher_shapes[pair.teacher]


def require_maps(pair: LayerPair, student: Shape, teacher: Shape) -> None:
    """Raise BadInput, naming both layers, unless both give image maps (D, H, W)."""
    if len(student) == len(teacher) == MAP:
        return
    raise _do_not_pair(
        pair, student, teacher, "two image maps", "name layers before the image is averaged"
    )


def require_vectors_or_maps(pair: LayerPair, student: Shape, teacher: Shape) -> None:
    """Raise BadInput, naming both layers, unless each gives a vector (F) or a map (D, H, W)."""
    if {len(student), len(teacher)} <= {VECTOR, MAP}:
        return
    raise _do_not_pair(
        pair, student, teacher, "vectors or image maps", "name a layer that gives one of the two"
    )


def shown(shape: Shape) -> str:
    """Return a shape as messages show it: ``batch x 16 x 8 x 8``."""
    return " x ".join(["batch", *map(str, shape)])


def as_vectors_BF(features: Tensor) -> Tensor:
    """Return features of any shape (B, ...) as vectors, a map flattened."""
    return features.reshape(len(features), -1)


def meeting(student: Shape, teacher: Shape) -> tuple[nn.Module, nn.Module]:
    """Return what brings the student's and the teacher's feature to one kind and size.

    Two maps shrink to the smaller of each side; beside a vector, a map is averaged over its image.
    Vectors stay as they are, and channels are left to differ.
    """
    if len(student) == len(teacher) == MAP:
        return pooling_to_meet(student, teacher), pooling_to_meet(teacher, student)
    return averaged(student), averaged(teacher)


def averaged(shape: Shape) -> nn.Module:
    """Return what makes a vector of a feature: of a map the mean over its image."""
    return GlobalAveragePooling() if len(shape) == MAP else nn.Identity()


def unit_length(vectors: Tensor) -> Tensor:
    """Return vectors, along the last dimension, at length 1; a zero stays zero.

    Of a zero the gradient is as if its length were 1, and not endless.
    """
    scaled = scaled_to_one(vectors, dims=(-1,))
    # Its largest element being 1, no vector but a zero is shorter than 1.
    lengths: Tensor = torch.linalg.vector_norm(scaled, dim=-1, keepdim=True).clamp_min(1)
    return scaled / lengths


def scaled_to_one(values: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Return values over the largest absolute one along ``dims``, which is taken as a constant.

    For what does not depend on scale: powers and squares then stay within float32.
    """
    largest = values.detach().abs().amax(dim=dims, keepdim=True)
    return values / largest.where(largest > SMALLEST, 1)


def _do_not_pair(
    pair: LayerPair, student: Shape, teacher: Shape, expected: str, hint: str
) -> BadInput:
    return BadInput(
        "layers_do_not_pair",
        f"student layer {pair.student!r} gives {shown(student)} and teacher layer "
        f"{pair.teacher!r} gives {shown(teacher)}; expected {expected}",
        hint=hint,
    )
