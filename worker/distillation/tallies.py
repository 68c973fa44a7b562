"""Scores as functions of sums over examples, so that any sample's scores follow from its sums.

Examples are in groups; a group's sums are one row. Answers and labels are as in ``metrics``.

Shapes: N = examples, C = outputs, G = groups, S = sums, R = samples.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from app.contracts.dataset import Task
from worker.distillation.metrics import CALIBRATION_BINS, TOP5_FROM_CLASSES, deviation_C

EXAMPLES_AT_ONCE = 65_536
FIRST_OF_CLASSES = 4
FIRST_OF_LABELS = 5
ROUNDING = 1e-9
"""Share of a sum of squares below which what is left after subtraction is rounding."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Groups:
    """Which group each example is in."""

    group_N: npt.NDArray[np.int64]
    num_groups: int

    def totals(self, values_N: Tensor) -> Floats:
        """Return the sum of each group's values (G, 1)."""
        totals_G = np.bincount(self.group_N, values_N.double().numpy(), self.num_groups)
        return totals_G[:, None].astype(np.float64)

    def by_column(self, columns_N: Tensor, num_columns: int, values_N: Tensor | None) -> Floats:
        """Return the sum of each group's values, 1 where none are given, by column."""
        places_N = self.group_N * num_columns + columns_N.numpy()
        values = None if values_N is None else values_N.double().numpy()
        sums = np.bincount(places_N, values, self.num_groups * num_columns)
        return sums.reshape(self.num_groups, num_columns).astype(np.float64)


def num_sums(task: Task, num_outputs: int) -> int:
    """Return how many sums ``tally`` gives of a group."""
    if task == "regression":
        return 1 + 4 * num_outputs
    first = FIRST_OF_CLASSES if task == "classification" else FIRST_OF_LABELS
    return first + 3 * num_outputs + 3 * CALIBRATION_BINS


def tally(answers_NC: Tensor, labels: Tensor, task: Task, groups: Groups) -> Floats:
    """Return the sums of each group (G, S)."""
    if task == "classification":
        return _of_classes(answers_NC, labels.long(), groups)
    if task == "multi_label":
        return _of_labels(answers_NC, labels, groups)
    return _of_numbers(answers_NC.double(), labels.double(), groups)


def scores_of(sums_RS: Floats, task: Task, num_outputs: int) -> dict[str, Floats]:
    """Return each score of each sample (R), by the names of ``Scores``."""
    if task == "classification":
        return _scores_of_classes(sums_RS, num_outputs)
    if task == "multi_label":
        return _scores_of_labels(sums_RS, num_outputs)
    return _scores_of_numbers(sums_RS)


def _of_classes(logits_NC: Tensor, labels_N: Tensor, groups: Groups) -> Floats:
    num_classes = logits_NC.shape[1]
    said_N = logits_NC.argmax(dim=1)
    right_N = said_N == labels_N
    blocks = [
        _facts(*block)
        for block in zip(
            logits_NC.split(EXAMPLES_AT_ONCE), labels_N.split(EXAMPLES_AT_ONCE), strict=True
        )
    ]
    losses_N, confidences_N, among5_N = (torch.cat(each) for each in zip(*blocks, strict=True))
    return np.hstack(
        [
            groups.totals(torch.ones_like(losses_N)),
            groups.totals(right_N),
            groups.totals(among5_N),
            groups.totals(losses_N),
            groups.by_column(labels_N, num_classes, right_N),
            groups.by_column(labels_N, num_classes, None),
            groups.by_column(said_N, num_classes, None),
            _bins(confidences_N, right_N, groups),
        ]
    )


def _facts(logits_NC: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return each example's log loss, confidence, and whether its label is among the first five."""
    logits_NC = logits_NC.double()
    first = logits_NC.topk(min(5, logits_NC.shape[1]), dim=1).indices
    return (
        F.cross_entropy(logits_NC, labels_N, reduction="none"),
        logits_NC.softmax(dim=1).amax(dim=1),
        (first == labels_N[:, None]).any(dim=1),
    )


def _scores_of_classes(sums_RS: Floats, num_classes: int) -> dict[str, Floats]:
    count_R, right_R, among5_R, loss_R = sums_RS[:, :FIRST_OF_CLASSES].T
    hits_RC, true_RC, said_RC = _thirds(sums_RS, FIRST_OF_CLASSES, num_classes)
    found = {
        "accuracy": right_R / count_R,
        "macro_f1": _macro_f1(hits_RC, true_RC + said_RC),
        "log_loss": loss_R / count_R,
        "calibration_error": _calibration_error(sums_RS) / count_R,
    }
    if num_classes >= TOP5_FROM_CLASSES:
        found["top5_accuracy"] = among5_R / count_R
    return found


def _of_labels(logits_NC: Tensor, labels_NC: Tensor, groups: Groups) -> Floats:
    known_NC = ~labels_NC.isnan()
    right_NC = known_NC & ((logits_NC > 0) == (labels_NC > 0))
    any_known_N = known_NC.any(dim=1)
    all_right_N = any_known_N & (right_NC == known_NC).all(dim=1)
    columns = [
        _of_label(logits_N.double(), labels_N.double(), groups)
        for logits_N, labels_N in zip(logits_NC.unbind(dim=1), labels_NC.unbind(dim=1), strict=True)
    ]
    loss_G1 = np.sum([column[:, :1] for column in columns], axis=0)
    hits_GC, true_GC, said_GC = np.stack([column[:, 1:4] for column in columns], axis=2).swapaxes(
        0, 1
    )
    return np.hstack(
        [
            groups.totals(known_NC.sum(dim=1)),
            groups.totals(right_NC.sum(dim=1)),
            loss_G1,
            groups.totals(any_known_N),
            groups.totals(all_right_N),
            hits_GC,
            true_GC,
            said_GC,
            np.sum([column[:, 4:] for column in columns], axis=0),
        ]
    )


def _of_label(logits_N: Tensor, labels_N: Tensor, groups: Groups) -> Floats:
    """Return one label's sums where it is known: log loss, hits, true, said, and its bins."""
    known_N = ~labels_N.isnan()
    inside = Groups(groups.group_N[known_N.numpy()], groups.num_groups)
    logits, labels = logits_N[known_N], labels_N[known_N]
    said, true = logits > 0, labels > 0
    losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    sums = [inside.totals(each) for each in (losses, said & true, true, said)]
    return np.hstack([*sums, _bins(logits.sigmoid(), true, inside)])


def _scores_of_labels(sums_RS: Floats, num_labels: int) -> dict[str, Floats]:
    known_R, right_R, loss_R, examples_R, exact_R = sums_RS[:, :FIRST_OF_LABELS].T
    known_R = np.maximum(known_R, 1)  # a sample may hold nothing that is known
    hits_RC, true_RC, said_RC = _thirds(sums_RS, FIRST_OF_LABELS, num_labels)
    return {
        "accuracy": right_R / known_R,
        "exact_match": exact_R / np.maximum(examples_R, 1),
        "macro_f1": _macro_f1(hits_RC, true_RC + said_RC),
        "log_loss": loss_R / known_R,
        "calibration_error": _calibration_error(sums_RS) / known_R,
    }


def _of_numbers(predictions_NC: Tensor, targets_NC: Tensor, groups: Groups) -> Floats:
    # Around the mean, or a sum of squares would lose what is left after subtraction.
    unit_C = deviation_C(targets_NC) if targets_NC.shape[1] > 1 else torch.ones(1)
    errors_NC = (predictions_NC - targets_NC) / unit_C
    centred_NC = (targets_NC - targets_NC.mean(dim=0)) / unit_C
    values = [torch.ones(len(targets_NC))]
    for each_NC in (errors_NC.square(), errors_NC.abs(), centred_NC, centred_NC.square()):
        values += each_NC.unbind(dim=1)
    return np.hstack([groups.totals(each_N) for each_N in values])


def _scores_of_numbers(sums_RS: Floats) -> dict[str, Floats]:
    count_R1 = sums_RS[:, :1]
    squared_RC, absolute_RC, centred_RC, squares_RC = np.split(sums_RS[:, 1:], 4, axis=1)
    total_RC = squares_RC - centred_RC**2 / count_R1
    varies_RC = total_RC > ROUNDING * squares_RC
    r2_RC = np.where(varies_RC, 1 - squared_RC / np.where(varies_RC, total_RC, 1), 0.0)
    return {
        "rmse": np.sqrt((squared_RC / count_R1).mean(axis=1)),
        "mae": (absolute_RC / count_R1).mean(axis=1),
        "r2": r2_RC.mean(axis=1),
    }


def _bins(probabilities: Tensor, happened: Tensor, groups: Groups) -> Floats:
    """Return, of each bin of probability: the count, the probabilities' sum, what happened."""
    bins = (probabilities * CALIBRATION_BINS).long().clamp_max(CALIBRATION_BINS - 1)
    columns = (groups.by_column(bins, CALIBRATION_BINS, each) for each in (probabilities, happened))
    return np.hstack([groups.by_column(bins, CALIBRATION_BINS, None), *columns])


def _calibration_error(sums_RS: Floats) -> Floats:
    _, expected, happened = np.split(sums_RS[:, -3 * CALIBRATION_BINS :], 3, axis=1)
    error_R: Floats = np.abs(expected - happened).sum(axis=1)
    return error_R


def _thirds(sums_RS: Floats, first: int, num_outputs: int) -> list[Floats]:
    return np.split(sums_RS[:, first : first + 3 * num_outputs], 3, axis=1)


def _macro_f1(hits_RC: Floats, true_and_said_RC: Floats) -> Floats:
    """Average over the outputs that are true or said anywhere in the sample; 0 without any."""
    counted_RC = true_and_said_RC > 0
    f1_RC = 2 * hits_RC / np.maximum(true_and_said_RC, 1)
    mean_R: Floats = f1_RC.sum(axis=1) / np.maximum(counted_RC.sum(axis=1), 1)
    return mean_R
