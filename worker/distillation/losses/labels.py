"""Labels: match the labels of the data, by cross-entropy.

Label smoothing is that of Szegedy et al., 2015, "Rethinking the Inception Architecture for
Computer Vision", https://arxiv.org/abs/1512.00567, section 7.

Shapes: B = batch, C = classes.
"""

from torch import Tensor
from torch.nn import functional as F

from app.contracts.response_losses import Labels
from worker.distillation.loss import Loss, Setting
from worker.distillation.signals import Batch, Signals


def labels_B(student_BC: Tensor, classes_B: Tensor, label_smoothing: float) -> Tensor:
    """Return each example's cross-entropy with its label, in nats.

    The target is 1 - ``label_smoothing`` of the label and the rest even over all C classes.
    """
    return F.cross_entropy(student_BC, classes_B, reduction="none", label_smoothing=label_smoothing)


class LabelsLoss(Loss):
    def __init__(self, spec: Labels) -> None:
        super().__init__()
        self.label_smoothing = spec.label_smoothing

    def forward(self, student: Signals, teacher: Signals, batch: Batch, step: int) -> Tensor:
        return labels_B(student.logits_BC, batch.labels, self.label_smoothing)


def build(spec: Labels, setting: Setting) -> Loss:
    return LabelsLoss(spec)
