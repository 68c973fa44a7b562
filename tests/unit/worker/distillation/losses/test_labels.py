"""Losses with labels, by hand, for every task."""

import math

import pytest
import torch
from torch import Tensor

from app.contracts.response_losses import AnyDistance, Huber, Labels, Quantile, Squared
from worker.distillation.errors import BadInput
from worker.distillation.loss import Setting
from worker.distillation.losses.labels import build, known_labels_B, labels_B, targets_B
from worker.distillation.signals import Batch, Signals

UNKNOWN = math.nan


def test_by_hand() -> None:  # probabilities (3/4, 1/4)
    student = torch.tensor([[math.log(3.0), 0.0]]).repeat(2, 1)

    values = labels_B(student, torch.tensor([0, 1]), label_smoothing=0.0)

    assert values.tolist() == pytest.approx([-math.log(0.75), -math.log(0.25)])


def test_smoothing_spreads_its_share_over_all_classes() -> None:
    student = torch.tensor([[math.log(3.0), 0.0]])

    value = labels_B(student, torch.tensor([0]), label_smoothing=0.2).item()

    assert value == pytest.approx(-0.9 * math.log(0.75) - 0.1 * math.log(0.25))


def test_labels_that_do_not_exclude_each_other_by_hand() -> None:  # yes with 3/4 and 1/5
    student = torch.tensor([[math.log(3.0), -math.log(4.0)]])

    value = known_labels_B(student, torch.tensor([[1.0, 0.0]]), label_smoothing=0.0).item()

    assert value == pytest.approx(-(math.log(0.75) + math.log(0.8)) / 2)


def test_smoothing_spreads_its_share_over_yes_and_no() -> None:
    student = torch.tensor([[math.log(3.0)]])

    value = known_labels_B(student, torch.tensor([[1.0]]), label_smoothing=0.2).item()

    assert value == pytest.approx(-0.9 * math.log(0.75) - 0.1 * math.log(0.25))


def test_labels_that_nobody_knows_are_left_out_of_the_mean() -> None:
    student = torch.tensor([[math.log(3.0), 7.0, -math.log(4.0)]])

    value = known_labels_B(student, torch.tensor([[1.0, UNKNOWN, 0.0]]), label_smoothing=0.0).item()

    assert value == pytest.approx(-(math.log(0.75) + math.log(0.8)) / 2)


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_a_batch_of_unknown_labels_is_worth_zero_with_no_gradient(
    scale: float, label_smoothing: float
) -> None:
    student = torch.tensor([[scale, -scale], [0.0, scale]], requires_grad=True)

    values = known_labels_B(student, torch.full((2, 2), UNKNOWN), label_smoothing)
    (gradient,) = torch.autograd.grad(values.sum(), student)

    assert values.tolist() == [0.0, 0.0]
    assert gradient.tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        # Errors (target - student) of 1/2 and -3.
        (Squared(), (0.25 + 9) / 2),
        (Huber(delta=1.0), (0.125 + 2.5) / 2),  # half of 1/4; 1 (3 - 1/2)
        (Huber(delta=0.25), (0.09375 + 0.71875) / 2),  # 1/4 (1/2 - 1/8); 1/4 (3 - 1/8)
        (Quantile(quantile=0.5), (0.25 + 1.5) / 2),
        (Quantile(quantile=0.9), (0.45 + 0.3) / 2),  # 9/10 of what lies above, 1/10 below
    ],
    ids=str,
)
def test_distances_to_targets_by_hand(distance: AnyDistance, expected: float) -> None:
    student, targets = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.5, -1.0]])

    assert targets_B(student, targets, distance).item() == pytest.approx(expected)


def test_the_pinball_loss_is_least_at_its_quantile() -> None:
    """Koenker and Bassett, 1978: of the numbers 1 to 10, the 0.75 quantile is 8."""
    targets, answers = torch.arange(1.0, 11.0), torch.arange(0.0, 12.0)

    totals = [
        targets_B(answer.expand(10, 1), targets[:, None], Quantile(quantile=0.75)).sum()
        for answer in answers
    ]

    assert answers[torch.stack(totals).argmin()] == 8


@pytest.mark.parametrize(
    ("setting", "labels", "expected"),
    [
        (Setting(task="classification"), torch.tensor([0]), -math.log(0.75)),
        (Setting(task="multi_label"), torch.tensor([[1.0, 1.0]]), -math.log(0.75 * 0.5) / 2),
        (Setting(task="regression"), torch.tensor([[0.0, 2.0]]), (math.log(3.0) ** 2 + 4) / 2),
    ],
    ids=["classification", "multi_label", "regression"],
)
def test_each_task_has_its_own_loss(setting: Setting, labels: Tensor, expected: float) -> None:
    student = Signals(torch.tensor([[math.log(3.0), 0.0]]))

    value = build(Labels(), setting)(student, student, Batch(torch.arange(1), labels), 0)

    assert value.item() == pytest.approx(expected)


def test_smoothing_is_refused_for_regression() -> None:
    with pytest.raises(BadInput, match=r"label_smoothing 0\.1 for regression; expected 0"):
        build(Labels(label_smoothing=0.1), Setting(task="regression"))


def test_a_distance_is_refused_for_classes() -> None:
    with pytest.raises(BadInput, match=r"distance huber for classification; expected none"):
        build(Labels(distance=Huber()), Setting(task="classification"))
