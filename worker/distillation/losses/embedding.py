"""Embedding: match the direction of the teacher's embedding, or its values.

Cosine: Sanh et al., 2019, "DistilBERT", https://arxiv.org/abs/1910.01108, section 3. Squared error:
Reimers and Gurevych, 2020, "Making Monolingual Sentence Embeddings Multilingual using Knowledge
Distillation", https://arxiv.org/abs/2004.09813, section 2; the mean over the elements. Summed over
the pairs. Of an image map the mean over the image is its embedding.

Shapes: B = batch, F = features of a vector.
"""

from typing import Literal

from torch import Tensor, nn

from app.contracts.feature_losses import Embedding
from app.contracts.loss import LayerPair
from worker.distillation.errors import BadInput
from worker.distillation.features import (
    MAP,
    PairedLoss,
    Shape,
    averaged,
    require_vectors_or_maps,
    shapes_of,
    unit_length,
)
from worker.distillation.loss import Loss, Setting


def cosine_B(student_BF: Tensor, teacher_BF: Tensor) -> Tensor:
    """Return each example's 1 - cosine, from 0 to 2; 1 where either is zero."""
    return 1 - (unit_length(student_BF) * unit_length(teacher_BF)).sum(dim=1)


def mse_B(student_BF: Tensor, teacher_BF: Tensor) -> Tensor:
    """Return each example's mean squared difference."""
    return (student_BF - teacher_BF).square().mean(dim=1)


class Comparison(nn.Module):
    """Two embeddings of one size, the student's projected to the teacher's if that is asked for."""

    def __init__(
        self,
        student: Shape,
        teacher: Shape,
        distance: Literal["cosine", "mse"],
        *,
        projection: bool,
    ) -> None:
        super().__init__()
        self.of_student, self.of_teacher = averaged(student), averaged(teacher)
        self.projection = nn.Linear(student[0], teacher[0]) if projection else nn.Identity()
        self.distance_B = cosine_B if distance == "cosine" else mse_B

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return self.distance_B(self.projection(self.of_student(student)), self.of_teacher(teacher))


def build(spec: Embedding, setting: Setting) -> Loss:
    """Return the loss with new projections, drawn from torch's global generator.

    Raises:
        BadInput: a layer gives neither vectors nor maps; or sizes differ and nothing projects.
    """
    comparisons = []
    for pair in spec.layers:
        student, teacher = shapes_of(pair, setting)
        require_vectors_or_maps(pair, student, teacher)
        if not spec.projection and student[0] != teacher[0]:
            raise _sizes_differ(pair, student, teacher)
        comparisons.append(Comparison(student, teacher, spec.distance, projection=spec.projection))
    return PairedLoss(spec.layers, comparisons)


def _sizes_differ(pair: LayerPair, student: Shape, teacher: Shape) -> BadInput:
    kind = "channels" if MAP in (len(student), len(teacher)) else "features"
    return BadInput(
        "sizes_differ",
        f"student layer {pair.student!r} has {student[0]} {kind} and teacher layer "
        f"{pair.teacher!r} has {teacher[0]}; without a projection they must agree",
        hint="set projection to true, or choose layers of one size",
    )
