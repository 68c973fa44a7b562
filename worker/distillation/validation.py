"""How good a model is on the validation part, epoch by epoch, to choose the best one.

Shapes: B = batch, C = outputs, N = examples of the validation part.
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
from worker.distillation.metrics import explained_C, f1_counts, macro_f1

EVALUATION_BATCH_SIZE = 512


@torch.no_grad()
def validate(
    model: Observable,
    dataset: Dataset,
    feed: Feed,
    precision: Precision,
    tell: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Return what tells epochs apart, as ``EpochRecord.validation`` has it.

    `accuracy` and `log_loss` in nats; of multi-label data those of the labels that are known, and
    `macro_f1`; or `rmse` in the targets' standard deviations, and `r2`. ``model`` is in eval mode.
    Nothing is returned where the validation part is empty. ``tell`` is called at each batch.
    """
    task, ids = dataset.description.task, dataset.ids["validation"]
    if len(ids) == 0:
        return {}
    sums = []
    for ids_B, inputs in feed.batches(ids, EVALUATION_BATCH_SIZE):
        tell()
        answers_BC = observe(model, inputs, precision, {}).logits_BC
        sums.append(_sums(task, answers_BC, feed.labels[ids_B]))
    total = torch.stack(sums).sum(dim=0).cpu()
    if task == "regression":
        targets_NC = feed.labels[torch.from_numpy(ids).to(feed.device)].double().cpu()
        r2 = float(explained_C(total, targets_NC).mean())
        return {"rmse": math.sqrt(total.sum() / targets_NC.numel()), "r2": r2}
    count, error, correct = total[:3].tolist()
    if count == 0:
        return {}
    found = {"accuracy": correct / count, "log_loss": error / count}
    if task == "multi_label":
        hits_C, said_and_true_C = total[3:].chunk(2)
        found["macro_f1"] = macro_f1(hits_C, said_and_true_C)
    return found


def _sums(task: Task, answers_BC: Tensor, labels: Tensor) -> Tensor:
    """Return what a batch adds, in float64: the count, the sum of errors, how many are right (3).

    Of labels then also what ``macro_f1`` takes of each (2 C); of targets their squared errors (C)
    instead.
    """
    if task == "regression":
        return (answers_BC - labels).square().sum(dim=0).double()
    if task == "classification":
        count = torch.full((), len(labels), device=labels.device)
        error = F.cross_entropy(answers_BC, labels, reduction="sum")
        correct = (answers_BC.argmax(dim=1) == labels).sum()
        return torch.stack([count.double(), error.double(), correct.double()])
    known = ~labels.isnan()
    answers, truths = answers_BC[known], labels[known]
    error = F.binary_cross_entropy_with_logits(answers, truths, reduction="sum")
    correct = ((answers > 0) == (truths > 0)).sum()
    hits_C, wrong_C, missed_C = (each.sum(dim=0) for each in f1_counts(answers_BC, labels))
    first = torch.stack([known.sum().double(), error.double(), correct.double()])
    return torch.cat([first, hits_C, 2 * hits_C + wrong_C + missed_C])
