"""Labels: match the labels of the data, each task by its own loss.

Label smoothing is that of Szegedy et al., 2015, "Rethinking the Inception Architecture for
Computer Vision", https://arxiv.org/abs/1512.00567, section 7. Huber's distance is of Huber, 1964,
"Robust Estimation of a Location Parameter", https://doi.org/10.1214/aoms/1177703732; the pinball
loss of Koenker and Bassett, 1978, "Regression Quantiles", https://doi.org/10.2307/1913643.

Shapes: B = batch, C = classes, labels or targets.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from app.contracts.dataset import Task
from app.contracts.response_losses import AnyDistance, Huber, Labels, Quantile, Squared
from worker.distillation.errors import BadInput
from worker.distillation.loss import Loss, Setting
from worker.distillation.signals import Batch, Signals


def labels_B(student_BC: Tensor, classes_B: Tensor, label_smoothing: float) -> Tensor:
    """Return each example's cross-entropy with its class, in nats.

    The target is 1 - ``label_smoothing`` of the label and the rest even over all C classes.
    """
    return F.cross_entropy(student_BC, classes_B, reduction="none", label_smoothing=label_smoothing)


def known_labels_B(student_BC: Tensor, labels_BC: Tensor, label_smoothing: float) -> Tensor:
    """Return the Bernoulli log loss, in nats, averaged over an example's labels that are known.

    Labels are 0, 1, or NaN where nobody knows; an example without a known one is worth 0. The rest
    of a smoothed target is even over yes and no.
    """
    known_BC = ~labels_BC.isnan()
    yes_BC = labels_BC.nan_to_num().to(student_BC.dtype)
    smoothed_BC = (1 - label_smoothing) * yes_BC + label_smoothing / 2
    loss_BC = F.binary_cross_entropy_with_logits(student_BC, smoothed_BC, reduction="none")
    return loss_BC.where(known_BC, 0.0).sum(dim=-1) / known_BC.sum(dim=-1).clamp(min=1)


def targets_B(student_BC: Tensor, targets_BC: Tensor, distance: AnyDistance) -> Tensor:
    """Return each example's distance to its targets, averaged over them."""
    error_BC = targets_BC.to(student_BC.dtype) - student_BC
    if isinstance(distance, Huber):
        zeros_BC = torch.zeros_like(error_BC)
        each_BC = F.huber_loss(error_BC, zeros_BC, reduction="none", delta=distance.delta)
    elif isinstance(distance, Quantile):
        each_BC = torch.maximum(distance.quantile * error_BC, (distance.quantile - 1) * error_BC)
    else:
        each_BC = error_BC.square()
    return each_BC.mean(dim=-1)


class LabelsLoss(Loss):
    def __init__(self, spec: Labels, task: Task) -> None:
        super().__init__()
        self.task = task
        self.label_smoothing = spec.label_smoothing
        self.distance = spec.distance

    def forward(self, student: Signals, teacher: Signals, batch: Batch, step: int) -> Tensor:
        if self.task == "classification":
            return labels_B(student.logits_BC, batch.labels, self.label_smoothing)
        if self.task == "multi_label":
            return known_labels_B(student.logits_BC, batch.labels, self.label_smoothing)
        return targets_B(student.logits_BC, batch.labels, self.distance)


def build(spec: Labels, setting: Setting) -> Loss:
    """Return the loss of the setting's task.

    Raises:
        BadInput: a setting is given that means nothing for the task.
    """
    if setting.task == "regression" and spec.label_smoothing > 0:
        raise BadInput(
            "loss_does_not_fit_task",
            f"`labels` was given label_smoothing {spec.label_smoothing} for regression; expected "
            "0, as a target is no distribution that could be smoothed",
            hint="leave label_smoothing out; against outliers, `distance` may be huber",
        )
    if setting.task != "regression" and not isinstance(spec.distance, Squared):
        raise BadInput(
            "loss_does_not_fit_task",
            f"`labels` was given the distance {spec.distance.name} for {setting.task}; expected "
            "none, as only regression's targets have distances",
            hint="leave distance out",
        )
    return LabelsLoss(spec, setting.task)
