"""Numbers worked out by hand."""

import math

import pytest
import torch

from worker.distillation.metrics import fidelity, scores

# Of class 0 the probabilities are 3/4, 3/4, 1/4, 1/10: said are 0, 0, 1, 1.
LOGITS = torch.tensor([[3.0, 1.0], [3.0, 1.0], [1.0, 3.0], [1.0, 9.0]]).log()
LABELS = torch.tensor([0, 1, 1, 1])


def test_errors_and_accuracy_by_hand() -> None:
    measured = scores(LOGITS, LABELS)

    assert (measured.num_examples, measured.errors, measured.accuracy) == (4, 1, 0.75)


def test_macro_f1_by_hand() -> None:
    # class 0: precision 1/2, recall 1 -> 2/3; class 1: precision 1, recall 2/3 -> 4/5
    assert scores(LOGITS, LABELS).macro_f1 == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_log_loss_by_hand() -> None:
    expected = -(math.log(3 / 4) + math.log(1 / 4) + math.log(3 / 4) + math.log(9 / 10)) / 4

    assert scores(LOGITS, LABELS).log_loss == pytest.approx(expected)


def test_calibration_error_by_hand() -> None:
    # The bin of 0.75 holds three with 2/3 right; the bin of 0.9 holds one, right.
    expected = 3 / 4 * abs(3 / 4 - 2 / 3) + 1 / 4 * abs(9 / 10 - 1)

    assert scores(LOGITS, LABELS).calibration_error == pytest.approx(expected, abs=1e-6)


def test_top5_counts_a_label_among_the_five_most_probable() -> None:
    logits = torch.tensor([[6.0, 5.0, 4.0, 3.0, 2.0, 1.0]]).expand(3, 6)

    assert scores(logits, torch.tensor([0, 4, 5])).top5_accuracy == pytest.approx(2 / 3)


def test_top5_is_left_out_where_it_says_nothing() -> None:
    assert scores(torch.eye(5), torch.arange(5)).top5_accuracy is None


def test_a_confident_model_keeps_a_finite_log_loss() -> None:
    measured = scores(torch.tensor([[1e4, 0.0], [0.0, 1e4]]), torch.tensor([0, 0]))

    assert measured.log_loss == pytest.approx(5000)


def test_fidelity_by_hand() -> None:
    teacher = torch.tensor([[3.0, 1.0], [1.0, 1.0]]).log()
    student = torch.tensor([[1.0, 1.0], [1.0, 3.0]]).log()
    first = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    second = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)

    measured = fidelity(student_NC=student, teacher_NC=teacher)

    assert measured.mean_divergence == pytest.approx((first + second) / 2)
    assert measured.agreement == 0.5  # a tie goes to the first class


def test_a_model_is_wholly_faithful_to_itself() -> None:
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))

    measured = fidelity(logits, logits)

    assert (measured.agreement, measured.mean_divergence) == (1.0, 0.0)
