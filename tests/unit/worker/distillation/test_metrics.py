"""Numbers worked out by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
    multiclass_f1_score,
)

from worker.distillation.metrics import CALIBRATION_BINS, fidelity, scores

# Of class 0 the probabilities are 3/4, 3/4, 1/4, 1/10: said are 0, 0, 1, 1.
LOGITS = torch.tensor([[3.0, 1.0], [3.0, 1.0], [1.0, 3.0], [1.0, 9.0]]).log()
LABELS = torch.tensor([0, 1, 1, 1])

# Of two labels yes has 3/4, 1/4; 3/4, 1/4; 3/4, 3/4; 3/4, 3/4. Nobody knows three of them.
THREE = math.log(3)
LABEL_LOGITS = THREE * torch.tensor([[1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [1.0, 1.0]])
KNOWN = torch.tensor([[1.0, 0.0], [0.0, 0.0], [torch.nan, torch.nan], [torch.nan, 1.0]])


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


@given(
    seed=st.integers(0, 2**32 - 1),
    num_examples=st.integers(1, 60),
    num_classes=st.integers(2, 8),
    sharpness=st.sampled_from([0.1, 1.0, 10.0, 1000.0]),
)
@settings(deadline=None, max_examples=60)
def test_scores_of_classes_are_those_of_torchmetrics(
    seed: int, num_examples: int, num_classes: int, sharpness: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(num_examples, num_classes, generator=generator).double()
    labels = torch.randint(num_classes, (num_examples,), generator=generator)

    measured = scores(logits, labels)

    f1 = multiclass_f1_score(logits.argmax(dim=1), labels, num_classes, average="macro")
    error = multiclass_calibration_error(
        logits.softmax(dim=1), labels, num_classes, CALIBRATION_BINS
    )
    assert measured.macro_f1 == pytest.approx(float(f1), abs=1e-6)
    assert measured.calibration_error == pytest.approx(float(error), abs=1e-6)


@given(seed=st.integers(0, 2**32 - 1), num_examples=st.integers(1, 60))
@settings(deadline=None, max_examples=60)
def test_calibration_of_labels_is_that_of_torchmetrics(seed: int, num_examples: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 20 * torch.randn(num_examples, 3, generator=generator).double()
    labels = torch.randint(2, (num_examples, 3), generator=generator)

    measured = scores(logits, labels, "multi_label")

    probabilities, truths = logits.sigmoid().flatten(), labels.flatten()
    error = binary_calibration_error(probabilities, truths, CALIBRATION_BINS)
    assert measured.calibration_error == pytest.approx(float(error), abs=1e-6)


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


def test_of_labels_only_those_that_are_known_are_scored() -> None:
    measured = scores(LABEL_LOGITS, KNOWN, "multi_label")

    # Of the five known labels one is wrong: the second example's first, said and not true.
    assert (measured.errors, measured.accuracy) == (1, 4 / 5)
    # First label: 1 hit and 1 false alarm -> 2/3; second: 1 hit, no mistake -> 1.
    assert measured.macro_f1 == measured.quality == pytest.approx((2 / 3 + 1) / 2)
    # The third example, of which nothing is known, is not counted.
    assert measured.exact_match == pytest.approx(2 / 3)


def test_log_loss_and_calibration_of_labels_by_hand() -> None:
    measured = scores(LABEL_LOGITS, KNOWN, "multi_label")

    # Probabilities of yes where known: 3/4 (true), 3/4 (not), 1/4 (not), 1/4 (not), 3/4 (true).
    right, wrong = -math.log(3 / 4), -math.log(1 / 4)
    assert measured.log_loss == pytest.approx((4 * right + wrong) / 5)
    # In the bin of 3/4 two of three come true, in that of 1/4 none of two.
    expected = 3 / 5 * abs(3 / 4 - 2 / 3) + 2 / 5 * (1 / 4)
    assert measured.calibration_error == pytest.approx(expected, abs=1e-6)


def test_a_label_that_is_never_true_nor_said_has_no_f1() -> None:
    measured = scores(torch.tensor([[1.0, -1.0], [1.0, -1.0]]), torch.tensor([[1.0, 0], [1, 0]]),
                      "multi_label")  # fmt: skip

    assert measured.macro_f1 == 1


def test_one_target_is_scored_in_its_own_unit() -> None:
    targets = torch.tensor([[1.0], [2.0], [3.0], [6.0]])
    predictions = targets + torch.tensor([[1.0], [-1.0], [2.0], [0.0]])

    measured = scores(predictions, targets, "regression")

    assert measured.rmse == pytest.approx(math.sqrt(6 / 4))
    assert measured.mae == pytest.approx(1)
    # The squared distances from the mean, 3, are 4, 1, 0 and 9.
    assert measured.r2 == measured.quality == pytest.approx(1 - 6 / 14)
    assert measured.accuracy is None


def test_of_several_targets_each_counts_in_its_own_deviations() -> None:
    units = torch.tensor([1.0, 1000.0])
    targets = torch.tensor([[-1.0, -1.0], [1.0, 1.0]]) * units
    off = torch.tensor([[0.5, 0.0], [0.0, 0.0]])

    in_one = scores(targets + off * units, targets, "regression")
    in_other = scores(targets + off.flip(1) * units, targets, "regression")

    # One error of half a deviation among four numbers.
    for measured in (in_one, in_other):
        assert measured.rmse == pytest.approx(math.sqrt(0.25 / 4))
        assert measured.mae == pytest.approx(0.5 / 4)
        assert measured.r2 == pytest.approx((1 - 0.25 / 2 + 1) / 2)


def test_a_target_that_does_not_vary_explains_nothing() -> None:
    assert scores(torch.ones(3, 1), torch.ones(3, 1), "regression").r2 == 0


def test_fidelity_of_labels_sums_each_labels_divergence() -> None:
    teacher, student = torch.tensor([[3.0, 1.0]]).log(), torch.tensor([[1.0, 3.0]]).log()
    # Yes with 3/4 and 1/2 against 1/2 and 3/4.
    first = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    second = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)

    measured = fidelity(student, teacher, "multi_label")

    assert measured.mean_divergence == pytest.approx(first + second)
    assert measured.agreement == 0


def test_fidelity_of_numbers_is_in_the_teachers_deviations() -> None:
    teacher = torch.tensor([[10.0], [20.0], [30.0], [20.0]])  # deviation sqrt(50)
    student = teacher + torch.tensor([[5.0], [-5.0], [5.0], [-5.0]])

    measured = fidelity(student, teacher, "regression")

    assert measured.rmse == pytest.approx(math.sqrt(25 / 50))
    assert measured.r2 == pytest.approx(0.5)
    assert measured.agreement is None
