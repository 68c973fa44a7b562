"""LSKD: a number by hand, the published formula, and logits that are all equal."""

import math

import pytest
import torch
from torch import Tensor

from tests.unit.worker.distillation.losses.every_loss import drawn
from worker.distillation.losses.logit_standardized import logit_standardized_B


def test_by_hand() -> None:
    """The deviation of (1, 1, -2) is the root of 6/3, so its z-scores are 3 / root 2 apart.

    At a temperature of that over log 2, they are log 2 apart: teacher (2/5, 2/5, 1/5) and student
    (1/5, 2/5, 2/5), whose divergence is 2/5 log 2 - 1/5 log 2.
    """
    teacher, student = torch.tensor([[1.0, 1.0, -2.0]]), torch.tensor([[-2.0, 1.0, 1.0]])
    temperature = 3 / math.sqrt(2) / math.log(2)

    value = logit_standardized_B(student, teacher, temperature).item()

    assert value == pytest.approx(temperature**2 * math.log(2) / 5)


def test_is_the_published_formula() -> None:
    """Algorithms 1 and 2: Z = (x - mean) / deviation / T, both over the K classes; T^2 KL."""
    student, teacher, _ = drawn(0)

    def probabilities(logits_BC: Tensor) -> Tensor:
        mean = logits_BC.sum(dim=1, keepdim=True) / 4
        deviation = (((logits_BC - mean) ** 2).sum(dim=1, keepdim=True) / 4).sqrt()
        exponentials = ((logits_BC - mean) / deviation / 2).exp()
        return exponentials / exponentials.sum(dim=1, keepdim=True)

    q, p = probabilities(student.logits_BC), probabilities(teacher.logits_BC)

    torch.testing.assert_close(
        logit_standardized_B(student.logits_BC, teacher.logits_BC, 2.0),
        4 * (p * (p / q).log()).sum(dim=1),
    )


@pytest.mark.parametrize("factor", [1e-3, 1e4])
def test_the_size_of_the_logits_does_not_matter(factor: float) -> None:
    student, teacher, _ = drawn(0)

    torch.testing.assert_close(
        logit_standardized_B(factor * student.logits_BC, teacher.logits_BC, 2.0),
        logit_standardized_B(student.logits_BC, teacher.logits_BC, 2.0),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [0.0, 0.1, 1e4])
@pytest.mark.parametrize("num_classes", [3, 10])
def test_equal_logits_of_both_are_worth_zero_with_no_gradient(
    dtype: torch.dtype, level: float, num_classes: int
) -> None:
    student = torch.full((2, num_classes), level, dtype=dtype, requires_grad=True)

    values = logit_standardized_B(student, student.detach().clone(), 2.0)
    (gradient,) = torch.autograd.grad(values.sum(), student)

    assert values.abs().max() < 1e-6
    assert gradient.abs().max() < 1e-6


def test_equal_logits_of_the_student_are_finite_and_pulled_towards_the_teacher() -> None:
    student = torch.zeros(1, 3, requires_grad=True)

    value = logit_standardized_B(student, torch.tensor([[3.0, 0.0, -3.0]]), 2.0)
    (gradient,) = torch.autograd.grad(value.sum(), student)

    assert value.isfinite().all()
    assert gradient.isfinite().all()
    assert gradient[0, 0] < 0 < gradient[0, 2]
