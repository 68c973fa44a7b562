"""Flow: match how a network turns the features of one layer into those of a later one.

Yim et al., 2017, "A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and
Transfer Learning", section 3.2 (CVPR): the FSP matrix of two layers is the mean, over the image, of
the products of their channels. Squared differences are averaged over the matrix, as in RepDistiller
(weight 50), and summed over the spans.

Shapes: B = batch, D, E = channels of the first and the last layer, H, W = height and width.
"""

import torch
from torch import Tensor, nn

from app.contracts.feature_losses import Flow, FlowPair, LayerSpan
from app.contracts.loss import LayerPair
from worker.distillation.errors import BadInput
from worker.distillation.features import require_maps
from worker.distillation.loss import Loss, Setting, Shapes
from worker.distillation.pooling import pooling_to_meet
from worker.distillation.signals import Batch, Signals


def flow_matrix_BDE(first_BDHW: Tensor, last_BEHW: Tensor) -> Tensor:
    """Return the FSP matrices of two maps of one height and width."""
    num_pixels = first_BDHW.shape[2] * first_BDHW.shape[3]
    return first_BDHW.flatten(2) @ last_BEHW.flatten(2).transpose(1, 2) / num_pixels


def flow_B(student_BDE: Tensor, teacher_BDE: Tensor) -> Tensor:
    """Return each example's mean squared difference of two FSP matrices."""
    return (student_BDE - teacher_BDE).square().mean(dim=(1, 2))


class SpanMatrix(nn.Module):
    """The FSP matrix of a span, the larger of its two maps averaged to the smaller's size."""

    def __init__(self, span: LayerSpan, shapes: Shapes) -> None:
        super().__init__()
        self.span = span
        first, last = shapes[span.first], shapes[span.last]
        self.of_first, self.of_last = pooling_to_meet(first, last), pooling_to_meet(last, first)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        first_BDHW = self.of_first(features[self.span.first])
        return flow_matrix_BDE(first_BDHW, self.of_last(features[self.span.last]))


class FlowLoss(Loss):
    def __init__(self, spec: Flow, setting: Setting) -> None:
        super().__init__()
        self.students = nn.ModuleList(
            SpanMatrix(pair.student, setting.student_shapes) for pair in spec.spans
        )
        self.teachers = nn.ModuleList(
            SpanMatrix(pair.teacher, setting.teacher_shapes) for pair in spec.spans
        )

    def forward(self, student: Signals, teacher: Signals, batch: Batch, step: int) -> Tensor:
        return torch.stack(
            [
                flow_B(ours(student.features), theirs(teacher.features))
                for ours, theirs in zip(self.students, self.teachers, strict=True)
            ]
        ).sum(dim=0)


def build(spec: Flow, setting: Setting) -> Loss:
    """Return the loss; it learns nothing.

    Raises:
        BadInput: a layer gives no map, or student and teacher differ in channels.
    """
    for pair in spec.spans:
        _check(pair, setting)
    return FlowLoss(spec, setting)


def _check(pair: FlowPair, setting: Setting) -> None:
    for student, teacher in (
        (pair.student.first, pair.teacher.first),
        (pair.student.last, pair.teacher.last),
    ):
        ours, theirs = setting.student_shapes[student], setting.teacher_shapes[teacher]
        require_maps(LayerPair(student=student, teacher=teacher), ours, theirs)
        if ours[0] != theirs[0]:
            raise BadInput(
                "channels_differ",
                f"student layer {student!r} has {ours[0]} channels and teacher layer {teacher!r} "
                f"has {theirs[0]}; FSP matrices of two sizes cannot be compared",
                hint="choose layers with equally many channels, or use hints",
            )
