"""Answers as distributions, by hand."""

import math

import pytest
import torch

from worker.distillation.distributions import divergence_B, log_probs_BDO


def test_classes_are_one_distribution_of_each_example_and_not_of_the_batch() -> None:
    logits = torch.tensor([[math.log(2.0), 0.0, 0.0], [0.0, 0.0, math.log(8.0)]])

    probabilities = log_probs_BDO(logits, 1.0, "classification").exp()

    torch.testing.assert_close(
        probabilities, torch.tensor([[[0.5, 0.25, 0.25]], [[0.1, 0.1, 0.8]]])
    )


def test_each_label_is_a_distribution_of_yes_and_no() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0, -math.log(4.0)]])

    probabilities = log_probs_BDO(logits, 1.0, "multi_label").exp()

    torch.testing.assert_close(
        probabilities, torch.tensor([[[0.75, 0.25], [0.5, 0.5], [0.2, 0.8]]])
    )


def test_a_temperature_divides_the_logits() -> None:
    logits = torch.tensor([[2 * math.log(3.0), 0.0]])

    probabilities = log_probs_BDO(logits, 2.0, "classification").exp()

    torch.testing.assert_close(probabilities, torch.tensor([[[0.75, 0.25]]]))


def test_a_divergence_sums_over_outcomes_and_averages_over_distributions() -> None:
    p = torch.tensor([[[0.75, 0.25], [0.5, 0.5]]])
    q = torch.full_like(p, 0.5)

    value = divergence_B(p.log(), q.log()).item()

    assert value == pytest.approx((0.75 * math.log(1.5) + 0.25 * math.log(0.5) + 0) / 2)


@pytest.mark.parametrize("gap", [1e4, 1e30])
def test_a_log_probability_far_below_is_the_gap_itself(gap: float) -> None:
    of_classes = log_probs_BDO(torch.tensor([[gap, 0.0]]), 1.0, "classification")
    of_labels = log_probs_BDO(torch.tensor([[gap, -gap]]), 1.0, "multi_label")

    assert of_classes.tolist() == [[[0.0, pytest.approx(-gap)]]]
    assert of_labels.tolist() == [[[0.0, pytest.approx(-gap)], [pytest.approx(-gap), 0.0]]]
