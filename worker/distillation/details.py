"""What a report shows of one model beyond its scores: each output, confusion, reliability, curves.

Shapes: N = examples, C = outputs.
"""

import torch
from torch import Tensor

from app.contracts.dataset import Task
from app.contracts.report import CurvePoint, ModelDetails, OutputScores, ReliabilityBin
from worker.distillation.history import History
from worker.distillation.metrics import CALIBRATION_BINS, f1_counts, r2_C

MOST_CLASSES_CONFUSED = 200
MOST_CURVE_POINTS = 300


def details(
    answers_NC: Tensor, labels: Tensor, task: Task, names: list[str], history: History | None
) -> ModelDetails:
    """Return what tables and plots of a model's answers on test need; answers as in ``metrics``."""
    answers_NC = answers_NC.double()
    curve = _curve(history) if history is not None else []
    if task == "regression":
        return ModelDetails(outputs=_targets(answers_NC, labels.double(), names), curve=curve)
    if task == "multi_label":
        known = ~labels.isnan()
        outputs = _labels(answers_NC, labels, names)
        bins = _reliability(answers_NC[known].sigmoid(), labels[known] > 0)
        return ModelDetails(outputs=outputs, reliability=bins, curve=curve)
    confusion_CC = _confusion(answers_NC.argmax(dim=1), labels, len(names))
    confidences, answered = answers_NC.softmax(dim=1).max(dim=1)
    return ModelDetails(
        outputs=_classes(confusion_CC, names),
        confusion=confusion_CC.tolist() if len(names) <= MOST_CLASSES_CONFUSED else None,
        reliability=_reliability(confidences, answered == labels),
        curve=curve,
    )


def _confusion(said_N: Tensor, labels_N: Tensor, num_classes: int) -> Tensor:
    """Return how many examples of each true class (rows) are given each answer (columns)."""
    places_N = labels_N * num_classes + said_N
    return torch.bincount(places_N, minlength=num_classes**2).view(num_classes, num_classes)


def _classes(confusion_CC: Tensor, names: list[str]) -> list[OutputScores]:
    hits_C = confusion_CC.diag()
    missed_C, wrong_C = confusion_CC.sum(dim=1) - hits_C, confusion_CC.sum(dim=0) - hits_C
    return _outputs(names, hits_C, wrong_C, missed_C)


def _labels(answers_NC: Tensor, labels_NC: Tensor, names: list[str]) -> list[OutputScores]:
    return _outputs(names, *(each.sum(dim=0) for each in f1_counts(answers_NC, labels_NC)))


def _outputs(
    names: list[str], hits_C: Tensor, wrong_C: Tensor, missed_C: Tensor
) -> list[OutputScores]:
    """Where nothing was said, or nothing was to be found, a share is left out."""
    return [
        OutputScores(
            name=name,
            num_examples=hits + missed,
            precision=hits / (hits + wrong) if hits + wrong else None,
            recall=hits / (hits + missed) if hits + missed else None,
            f1=2 * hits / (2 * hits + wrong + missed) if hits + wrong + missed else None,
        )
        for name, hits, wrong, missed in zip(
            names, hits_C.tolist(), wrong_C.tolist(), missed_C.tolist(), strict=True
        )
    ]


def _targets(answers_NC: Tensor, targets_NC: Tensor, names: list[str]) -> list[OutputScores]:
    rmse_C = (answers_NC - targets_NC).square().mean(dim=0).sqrt()
    explained_C = r2_C(answers_NC, targets_NC)
    return [
        OutputScores(name=name, num_examples=len(targets_NC), rmse=rmse, r2=r2)
        for name, rmse, r2 in zip(names, rmse_C.tolist(), explained_C.tolist(), strict=True)
    ]


def _reliability(probabilities: Tensor, happened: Tensor) -> list[ReliabilityBin]:
    """Return the bins that hold any answer."""
    places = (probabilities * CALIBRATION_BINS).long().clamp_max(CALIBRATION_BINS - 1)
    return [
        ReliabilityBin(
            num_answers=int(here.sum()),
            confidence=float(probabilities[here].mean()),
            accuracy=float(happened[here].double().mean()),
        )
        for here in (places == place for place in range(CALIBRATION_BINS))
        if here.any()
    ]


def _curve(history: History) -> list[CurvePoint]:
    """Return the epochs, of a long training every few, the last and the one kept."""
    epochs = history.epochs
    every = -(-len(epochs) // MOST_CURVE_POINTS) or 1
    always = {len(epochs) - 1, (history.epoch or len(epochs)) - 1} if epochs else set()
    chosen = sorted({*range(0, len(epochs), every)} | always)
    return [
        CurvePoint(
            epoch=epochs[place].epoch,
            loss=epochs[place].loss,
            losses=epochs[place].losses,
            validation=epochs[place].validation,
        )
        for place in chosen
    ]
