"""Review: fuse later features of the student into earlier ones, then match the teacher's.

Chen et al., 2021, "Distilling Knowledge via Knowledge Review", https://arxiv.org/abs/2104.09044,
section 3: attention-based fusion from the deepest layer back to the first (figure 3a), and the
hierarchical context loss over the map and its averages on grids of 4, 2 and 1 (figure 3b), each
half the weight of the one before. There is no batch norm, so that an example's value does not
depend on its batch; in its stead the convolutions have biases. Where the sizes of student and
teacher differ, both are averaged to the smaller. Weight 1.

Shapes: B = batch, D = channels of a layer, M = channels of the fusion, H, W = height and width.
"""

import torch
from torch import Tensor, nn

from app.contracts.feature_losses import Review
from worker.distillation.features import Shape, require_maps, shapes_of
from worker.distillation.loss import Loss, Setting
from worker.distillation.pooling import AveragePooling, NearestResizing, pooling_to_meet
from worker.distillation.signals import Batch, Signals

GRIDS = (4, 2, 1)


class Fusion(nn.Module):
    """Joins a layer's feature with what was fused so far, by attention over both."""

    def __init__(self, student: Shape, teacher: Shape, channels: int, fused: Shape | None) -> None:
        super().__init__()
        self.reduction = nn.Conv2d(student[0], channels, 1)
        self.resizing: nn.Module = nn.Identity()
        self.attention: nn.Module | None = None
        if fused is not None:
            before, after = (fused[1], fused[2]), (student[1], student[2])
            self.resizing = NearestResizing(before, after)
            self.attention = nn.Sequential(nn.Conv2d(2 * channels, 2, 1), nn.Sigmoid())
        self.expansion = nn.Conv2d(channels, teacher[0], 3, padding=1)

    def forward(self, feature: Tensor, fused_BMHW: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return what is compared with the teacher (B, D, H, W), and what is fused so far."""
        reduced_BMHW = self.reduction(feature)
        if self.attention is not None and fused_BMHW is not None:
            later_BMHW = self.resizing(fused_BMHW)
            shares_B2HW = self.attention(torch.cat([reduced_BMHW, later_BMHW], dim=1))
            reduced_BMHW = reduced_BMHW * shares_B2HW[:, :1] + later_BMHW * shares_B2HW[:, 1:]
        return self.expansion(reduced_BMHW), reduced_BMHW


class HierarchicalContext(nn.Module):
    """The weighted mean of squared errors of two maps and of their averages on coarser grids."""

    def __init__(self, student: Shape, teacher: Shape) -> None:
        super().__init__()
        self.of_student, self.of_teacher = (
            pooling_to_meet(student, teacher),
            pooling_to_meet(teacher, student),
        )
        size = (min(student[1], teacher[1]), min(student[2], teacher[2]))
        self.grids = nn.ModuleList(
            AveragePooling(size, (grid, grid)) for grid in GRIDS if grid < min(size)
        )

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student_BDHW, teacher_BDHW = self.of_student(student), self.of_teacher(teacher)
        total_B, weight = _error_B(student_BDHW, teacher_BDHW), 1.0
        weights = weight
        for grid in self.grids:
            weight /= 2
            total_B = total_B + weight * _error_B(grid(student_BDHW), grid(teacher_BDHW))
            weights += weight
        return total_B / weights


class ReviewLoss(Loss):
    def __init__(self, spec: Review, setting: Setting) -> None:
        super().__init__()
        self.pairs = spec.layers
        fusions: list[Fusion] = []
        contexts: list[HierarchicalContext] = []
        fused: Shape | None = None
        for pair in reversed(spec.layers):
            student, teacher = shapes_of(pair, setting)
            require_maps(pair, student, teacher)
            fusions.append(Fusion(student, teacher, spec.channels, fused))
            contexts.append(HierarchicalContext(student, teacher))
            fused = student
        self.fusions, self.contexts = nn.ModuleList(fusions), nn.ModuleList(contexts)

    def forward(self, student: Signals, teacher: Signals, batch: Batch, step: int) -> Tensor:
        fused_BMHW: Tensor | None = None
        values = []
        parts = zip(reversed(self.pairs), self.fusions, self.contexts, strict=True)
        for pair, fuse, compare in parts:
            compared, fused_BMHW = fuse(student.features[pair.student], fused_BMHW)
            values.append(compare(compared, teacher.features[pair.teacher]))
        return torch.stack(values).sum(dim=0)


def build(spec: Review, setting: Setting) -> Loss:
    """Return the loss with new fusions; ``spec.layers`` go from the first to the deepest.

    Raises:
        BadInput: a layer gives no map.
    """
    return ReviewLoss(spec, setting)


def _error_B(student_BDHW: Tensor, teacher_BDHW: Tensor) -> Tensor:
    return (student_BDHW - teacher_BDHW).square().mean(dim=(1, 2, 3))
