"""Cross-entropy with labels, by hand."""

import math

import pytest
import torch

from worker.distillation.losses.labels import labels_B


def test_by_hand() -> None:  # probabilities (3/4, 1/4)
    student = torch.tensor([[math.log(3.0), 0.0]]).repeat(2, 1)

    values = labels_B(student, torch.tensor([0, 1]), label_smoothing=0.0)

    assert values.tolist() == pytest.approx([-math.log(0.75), -math.log(0.25)])


def test_smoothing_spreads_its_share_over_all_classes() -> None:
    student = torch.tensor([[math.log(3.0), 0.0]])

    value = labels_B(student, torch.tensor([0]), label_smoothing=0.2).item()

    assert value == pytest.approx(-0.9 * math.log(0.75) - 0.1 * math.log(0.25))
