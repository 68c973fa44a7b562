"""How good a model is and how close to its teacher, from its answers.

Answers are logits of classes or labels, or predictions in the targets' units. Labels are classes
(N); or 0, 1 and NaN, where nobody knows, of each label (N, C); or targets (N, C).

Shapes: N = examples, C = outputs.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from app.contracts.dataset import Task
from app.contracts.report import Fidelity, Quality, Scores

CALIBRATION_BINS = 15
TOP5_FROM_CLASSES = 6

COMPARED_BY: dict[Task, Quality] = {
    "classification": "accuracy",
    "multi_label": "macro_f1",
    "regression": "r2",
}


def scores(answers_NC: Tensor, labels: Tensor, task: Task = "classification") -> Scores:
    """Score one model on one part, in float64."""
    if task == "classification":
        return _of_classes(answers_NC.double(), labels.long())
    if task == "multi_label":
        return _of_labels(answers_NC.double(), labels.double())
    return _of_numbers(answers_NC.double(), labels.double())


def fidelity(student_NC: Tensor, teacher_NC: Tensor, task: Task = "classification") -> Fidelity:
    """Say how close the student's answers are to the teacher's, in float64."""
    student_NC, teacher_NC = student_NC.double(), teacher_NC.double()
    if task == "regression":
        scaled_NC = (student_NC - teacher_NC) / deviation_C(teacher_NC)
        return Fidelity(
            rmse=math.sqrt(float(scaled_NC.square().mean())),
            r2=float(r2_C(student_NC, teacher_NC).mean()),
        )
    if task == "multi_label":
        agreement = ((student_NC > 0) == (teacher_NC > 0)).double().mean()
        divergence = _divergence(*(_yes_and_no(each) for each in (student_NC, teacher_NC)))
    else:
        agreement = (student_NC.argmax(dim=1) == teacher_NC.argmax(dim=1)).double().mean()
        divergence = _divergence(student_NC.log_softmax(dim=1), teacher_NC.log_softmax(dim=1))
    # Rounding may leave equals a hair below 0.
    return Fidelity(agreement=float(agreement), mean_divergence=max(0.0, divergence))


def deviation_C(values_NC: Tensor) -> Tensor:
    """Return the standard deviation of each output; 1 of one that does not vary."""
    spread_C = values_NC.std(dim=0, correction=0)
    return spread_C.where(spread_C > 0, 1.0)


def f1_counts(answers_NC: Tensor, labels_NC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return, of each example and label (N, C), whether it is a true or false positive, or missed.

    An unknown label is none of them.
    """
    known = ~labels_NC.isnan()
    said, true = (answers_NC > 0) & known, (labels_NC > 0) & known
    return said & true, said & ~true, ~said & true


def macro_f1(hits_C: Tensor, said_and_true_C: Tensor) -> float:
    """Average F1 over the outputs that are said or true at all; 0 without any.

    ``said_and_true_C`` counts an example twice where it is both.
    """
    counted_C = said_and_true_C > 0
    if not counted_C.any():
        return 0.0
    return float((2 * hits_C[counted_C] / said_and_true_C[counted_C].double()).mean())


def r2_C(predictions_NC: Tensor, targets_NC: Tensor) -> Tensor:
    """Return the share of each target's variance that is explained; 0 of one that does not vary."""
    return explained_C((predictions_NC - targets_NC).square().sum(dim=0), targets_NC)


def explained_C(residual_C: Tensor, targets_NC: Tensor) -> Tensor:
    """Return what ``r2_C`` does, from the sums of squared errors."""
    total_C = (targets_NC - targets_NC.mean(dim=0)).square().sum(dim=0)
    return torch.where(total_C > 0, 1 - residual_C / total_C.clamp_min(1e-300), 0.0)


def _of_classes(logits_NC: Tensor, labels_N: Tensor) -> Scores:
    """Macro F1 leaves out a class that is neither among the labels nor predicted."""
    num_examples, num_classes = logits_NC.shape
    said_N = logits_NC.argmax(dim=1)
    right_N = said_N == labels_N
    errors = int((~right_N).sum())
    hits_C, said_C, true_C = (
        torch.bincount(classes, minlength=num_classes)
        for classes in (said_N[right_N], said_N, labels_N)
    )
    accuracy = (num_examples - errors) / num_examples
    top5_accuracy = None
    if num_classes >= TOP5_FROM_CLASSES:
        hits_N = (logits_NC.topk(5, dim=1).indices == labels_N[:, None]).any(dim=1)
        top5_accuracy = float(hits_N.double().mean())
    return Scores(
        num_examples=num_examples,
        quality=accuracy,
        errors=errors,
        accuracy=accuracy,
        top5_accuracy=top5_accuracy,
        macro_f1=macro_f1(hits_C, said_C + true_C),
        log_loss=float(F.cross_entropy(logits_NC, labels_N)),
        # In float32, as torchmetrics has it.
        calibration_error=_calibration_error(logits_NC.softmax(dim=1).amax(dim=1).float(), right_N),
    )


def _of_labels(logits_NC: Tensor, labels_NC: Tensor) -> Scores:
    """A label without a yes, said or true, has no F1 and is left out of its mean."""
    known = ~labels_NC.isnan()
    answers, truths = logits_NC[known], labels_NC[known]
    errors = int(((answers > 0) != (truths > 0)).sum())
    hits_C, wrong_C, missed_C = (each.sum(dim=0) for each in f1_counts(logits_NC, labels_NC))
    found = macro_f1(hits_C, 2 * hits_C + wrong_C + missed_C)
    all_right_N = (~known | ((logits_NC > 0) == (labels_NC > 0))).all(dim=1)
    num_known = max(1, len(truths))
    return Scores(
        num_examples=len(logits_NC),
        quality=found,
        errors=errors,
        accuracy=(len(truths) - errors) / num_known,
        exact_match=float(all_right_N[known.any(dim=1)].double().mean()),
        macro_f1=found,
        log_loss=float(F.binary_cross_entropy_with_logits(answers, truths)),
        calibration_error=_calibration_error(answers.sigmoid(), truths > 0),
    )


def _of_numbers(predictions_NC: Tensor, targets_NC: Tensor) -> Scores:
    """Of several targets each counts in its own standard deviations, lest one drown the others."""
    unit_C = deviation_C(targets_NC) if targets_NC.shape[1] > 1 else torch.ones(1)
    errors_NC = (predictions_NC - targets_NC) / unit_C
    r2 = float(r2_C(predictions_NC, targets_NC).mean())
    return Scores(
        num_examples=len(targets_NC),
        quality=r2,
        rmse=math.sqrt(float(errors_NC.square().mean())),
        mae=float(errors_NC.abs().mean()),
        r2=r2,
    )


def _calibration_error(probabilities: Tensor, happened: Tensor) -> float:
    """Return by how much probabilities are off what happens, in equal bins, weighted by size.

    Guo et al., 2017, "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599,
    section 2. Certainty has a bin of its own, as in torchmetrics.
    """
    bounds = torch.linspace(0, 1, CALIBRATION_BINS + 1, dtype=probabilities.dtype)
    bins = torch.bucketize(probabilities, bounds, right=True) - 1
    excess = probabilities.double() - happened.double()
    return float(torch.bincount(bins, excess).abs().sum() / max(1, len(excess)))


def _yes_and_no(logits_NC: Tensor) -> Tensor:
    return torch.cat([F.logsigmoid(logits_NC), F.logsigmoid(-logits_NC)], dim=1)


def _divergence(student_log_probs: Tensor, teacher_log_probs: Tensor) -> float:
    return float(
        F.kl_div(student_log_probs, teacher_log_probs, reduction="batchmean", log_target=True)
    )
