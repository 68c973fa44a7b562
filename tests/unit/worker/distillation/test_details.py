"""Tables and curves of one model, by hand."""

import math

import pytest
import torch

from app.contracts.report import OutputScores, ReliabilityBin
from tests.unit.worker.distillation.reports import history_of
from worker.distillation import details as module
from worker.distillation.details import details

# Said are 0, 0, 1, 1, 0 of three classes.
LOGITS = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [1, 0, 0]])
LABELS = torch.tensor([0, 1, 1, 1, 0])
NAMES = ["a", "b", "c"]


def test_each_class_has_its_precision_recall_and_f1() -> None:
    found = details(LOGITS, LABELS, "classification", NAMES, None)

    assert found.outputs == [
        OutputScores(name="a", num_examples=2, precision=2 / 3, recall=1, f1=4 / 5),
        OutputScores(name="b", num_examples=3, precision=1, recall=2 / 3, f1=4 / 5),
        # Of a class that is never true nor said nothing can be told.
        OutputScores(name="c", num_examples=0),
    ]
    assert found.confusion == [[2, 0, 0], [1, 2, 0], [0, 0, 0]]


def test_a_confusion_of_very_many_classes_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CLASSES_CONFUSED", 2)

    assert details(LOGITS, LABELS, "classification", NAMES, None).confusion is None


def test_reliability_sets_probabilities_beside_what_came_true() -> None:
    logits = torch.tensor([[3.0, 1.0], [3.0, 1.0], [1.0, 3.0], [1.0, 9.0]]).log()

    found = details(logits, torch.tensor([0, 1, 1, 1]), "classification", ["a", "b"], None)

    assert [each.num_answers for each in found.reliability] == [3, 1]
    assert [each.confidence for each in found.reliability] == pytest.approx([3 / 4, 9 / 10])
    assert [each.accuracy for each in found.reliability] == pytest.approx([2 / 3, 1])


def test_of_labels_the_probability_is_that_of_a_yes() -> None:
    logits = math.log(3) * torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    labels = torch.tensor([[1.0], [0.0], [0.0], [torch.nan]])

    found = details(logits, labels, "multi_label", ["x"], None)

    assert found.outputs == [
        OutputScores(name="x", num_examples=1, precision=1 / 2, recall=1, f1=2 / 3)
    ]
    low, high = found.reliability
    assert low.model_dump() == pytest.approx(
        ReliabilityBin(num_answers=1, confidence=1 / 4, accuracy=0).model_dump()
    )
    assert high.model_dump() == pytest.approx(
        ReliabilityBin(num_answers=2, confidence=3 / 4, accuracy=1 / 2).model_dump()
    )
    assert found.confusion is None


def test_each_target_has_its_error_in_its_own_unit() -> None:
    targets = torch.tensor([[1.0, 100.0], [3.0, 300.0]])
    predictions = targets + torch.tensor([[1.0, 0.0], [1.0, 0.0]])

    first, second = details(predictions, targets, "regression", ["x", "y"], None).outputs

    assert [first.rmse, first.r2, second.rmse, second.r2] == pytest.approx([1, 0, 0, 1])


@pytest.mark.parametrize("num_epochs", [1, 2, 299, 300, 301, 1000, 12_345])
def test_a_curve_keeps_its_ends_and_the_epoch_kept_in_a_few_hundred_points(num_epochs: int) -> None:
    history = history_of(num_epochs)

    curve = details(LOGITS, LABELS, "classification", NAMES, history).curve

    epochs = [point.epoch for point in curve]
    assert len(epochs) <= module.MOST_CURVE_POINTS + 2
    assert epochs == sorted(set(epochs))
    assert {1, history.epoch, num_epochs} <= set(epochs)
    assert curve[-1].losses == history.epochs[-1].losses
    assert curve[-1].validation == history.epochs[-1].validation
