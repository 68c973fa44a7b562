"""How good a model is on the validation part, epoch by epoch, to choose the best one.

Shapes: B = batch, C = outputs, N = examples.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from app.contracts.dataset import Task
from worker.distillation.capture import Observable, Precision, observe
from worker.distillation.dataset import Dataset
from worker.distillation.feed import Feed

EVALUATION_BATCH_SIZE = 512


@torch.no_grad()
def validate(
    model: Observable,
    dataset: Dataset,
    feed: Feed,
    precision: Precision,
    tell: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Return `accuracy` and `log_loss` in nats, or `rmse` in the targets' standard deviations.

    Those of multi-label data are means over the labels that are known. ``model`` is in eval mode.
    Nothing is returned where the validation part is empty. ``tell`` is called at each batch.
    """
    task = dataset.description.task
    totals = torch.zeros(3, dtype=torch.float64, device=feed.device)
    for ids_B, inputs in feed.batches(dataset.ids["validation"], EVALUATION_BATCH_SIZE):
        tell()
        answers_BC = observe(model, inputs, precision, {}).logits_BC
        totals += _sums(task, answers_BC, feed.labels[ids_B])
    count, error, correct = totals.tolist()
    if count == 0:
        return {}
    if task == "regression":
        return {"rmse": math.sqrt(error / count)}
    return {"accuracy": correct / count, "log_loss": error / count}


def _sums(task: Task, answers_BC: Tensor, labels: Tensor) -> Tensor:
    """Return the count, the sum of errors, and how many answers are right (3)."""
    if task == "classification":
        count = torch.full((), len(labels), device=labels.device)
        error = F.cross_entropy(answers_BC, labels, reduction="sum")
        correct = (answers_BC.argmax(dim=1) == labels).sum()
    elif task == "multi_label":
        known = ~labels.isnan()
        answers, truths = answers_BC[known], labels[known]
        count = known.sum()
        error = F.binary_cross_entropy_with_logits(answers, truths, reduction="sum")
        correct = ((answers > 0) == (truths > 0)).sum()
    else:
        count = torch.full((), labels.numel(), device=labels.device)
        error = (answers_BC - labels).square().sum()
        correct = torch.zeros((), device=labels.device)
    return torch.stack([count.double(), error.double(), correct.double()])
