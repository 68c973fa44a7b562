"""DIST: numbers by hand, the published formula, and relations that are constant."""

import pytest
import torch
from torch import Tensor

from tests.unit.worker.distillation.losses.every_loss import drawn
from worker.distillation.losses.dist import dist_B


def logits(*probabilities: list[float]) -> Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log()


def test_between_classes_by_hand() -> None:
    """(1/2, 1/4, 1/4) less its mean is (2, -1, -1)/12, the student's (-1, 2, -1)/12.

    Their correlation is -3/6.
    """
    teacher, student = logits([2.0, 1.0, 1.0]), logits([1.0, 2.0, 1.0])

    assert dist_B(student, teacher, 1.0, 1.0, 0.0).tolist() == pytest.approx([1.5])


def test_within_a_class_by_hand() -> None:
    """Over two examples every correlation is 1 or -1: distances 0, 2 and 0, a mean of 2/3."""
    teacher = logits([4.0, 2.0, 1.0], [1.0, 4.0, 2.0])
    student = logits([4.0, 2.0, 1.0], [2.0, 1.0, 4.0])

    values = dist_B(student, teacher, 1.0, 0.0, 1.0)

    assert values.mean().item() == pytest.approx(2 / 3)
    assert values.tolist() == pytest.approx([2 / 3, 2 / 3])


@pytest.mark.parametrize(("between_weight", "within_weight"), [(1.0, 0.0), (0.0, 1.0), (2.0, 3.0)])
def test_the_square_of_the_temperature_stays_at_any_weight(
    between_weight: float, within_weight: float
) -> None:
    student, teacher, _ = drawn(0)

    torch.testing.assert_close(
        dist_B(5 * student.logits_BC, 5 * teacher.logits_BC, 5.0, between_weight, within_weight),
        25 * dist_B(student.logits_BC, teacher.logits_BC, 1.0, between_weight, within_weight),
    )


@pytest.mark.parametrize(("between_weight", "within_weight"), [(1.0, 0.0), (0.0, 1.0), (2.0, 3.0)])
def test_its_mean_is_the_published_formula(between_weight: float, within_weight: float) -> None:
    """Section 3: 1 - Pearson's correlation, the mean over rows and that over columns; times T^2."""
    student, teacher, _ = drawn(0)
    p, q = (teacher.logits_BC / 4).softmax(dim=1), (student.logits_BC / 4).softmax(dim=1)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return 1 - torch.corrcoef(torch.stack([a, b]))[0, 1]

    between = torch.stack([distance(q[row], p[row]) for row in range(6)]).mean()
    within = torch.stack([distance(q[:, column], p[:, column]) for column in range(4)]).mean()

    values = dist_B(student.logits_BC, teacher.logits_BC, 4.0, between_weight, within_weight)

    torch.testing.assert_close(
        values.mean(), 16 * (between_weight * between + within_weight * within)
    )


def test_between_classes_is_each_examples_own() -> None:
    student, teacher, _ = drawn(0)
    of_all = dist_B(student.logits_BC, teacher.logits_BC, 1.0, 1.0, 0.0)

    of_one = dist_B(student.logits_BC[2:3], teacher.logits_BC[2:3], 1.0, 1.0, 0.0)

    torch.testing.assert_close(of_one, of_all[2:3])


def test_an_example_alone_has_no_relation_within_a_class() -> None:
    assert dist_B(logits([4.0, 2.0, 1.0]), logits([1.0, 2.0, 4.0]), 1.0, 0.0, 1.0).item() == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_constant_in_both_is_worth_zero_with_no_gradient(dtype: torch.dtype) -> None:
    student = torch.zeros(4, 3, dtype=dtype, requires_grad=True)

    values = dist_B(student, torch.zeros(4, 3, dtype=dtype), 1.0, 1.0, 1.0)
    (gradient,) = torch.autograd.grad(values.sum(), student)

    assert values.tolist() == [0.0] * 4
    assert gradient.tolist() == [[0.0] * 3] * 4


def test_what_is_constant_in_the_student_alone_is_finite_and_worth_one_half() -> None:
    student = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    teacher = logits([4.0, 2.0, 1.0], [1.0, 4.0, 2.0])

    between = dist_B(student, teacher, 1.0, 1.0, 0.0)
    within = dist_B(student, teacher, 1.0, 0.0, 1.0)
    (gradient,) = torch.autograd.grad((between + within).sum(), student)

    assert between.tolist() == pytest.approx([0.5, 0.5])
    assert within.tolist() == pytest.approx([0.5, 0.5])
    assert gradient.isfinite().all()
