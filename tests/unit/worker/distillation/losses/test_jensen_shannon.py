"""The generalised Jensen-Shannon divergence: numbers by hand, its limits, the published formula."""

import math

import pytest
import torch
from torch import Tensor

from tests.unit.worker.distillation.losses.every_loss import drawn
from worker.distillation.losses.jensen_shannon import jensen_shannon_B


def test_by_hand() -> None:  # teacher (3/4, 1/4), student (1/4, 3/4), mixture (1/2, 1/2)
    teacher, student = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[0.0, math.log(3.0)]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)

    assert jensen_shannon_B(student, teacher, 1.0, 0.5).item() == pytest.approx(expected)


def test_the_square_of_the_temperature_by_hand() -> None:
    teacher = torch.tensor([[2 * math.log(3.0), 0.0]])
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))

    assert jensen_shannon_B(teacher.flip(1), teacher, 2.0, 0.5).item() == pytest.approx(expected)


def test_beta_is_the_teachers_share_by_hand() -> None:
    """Teacher (1, 0), student (1/2, 1/2): at a beta of 1/10 the mixture is (11/20, 9/20)."""
    teacher, student = torch.tensor([[1e4, 0.0]]), torch.zeros(1, 2)
    of_teacher = math.log(1 / 0.55)
    of_student = 0.5 * math.log(0.5 / 0.55) + 0.5 * math.log(0.5 / 0.45)

    value = jensen_shannon_B(student, teacher, 1.0, 0.1).item()

    assert value == pytest.approx(0.1 * of_teacher + 0.9 * of_student)


@pytest.mark.parametrize("gap", [1e4, 1e8])
@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_of_answers_that_rule_each_other_out_it_is_the_entropy_of_beta(
    gap: float, beta: float
) -> None:
    teacher, student = torch.tensor([[gap, 0.0]]), torch.tensor([[0.0, gap]], requires_grad=True)

    value = jensen_shannon_B(student, teacher, 1.0, beta)
    (gradient,) = torch.autograd.grad(value.sum(), student)

    expected = -beta * math.log(beta) - (1 - beta) * math.log(1 - beta)
    assert value.item() == pytest.approx(expected)
    assert gradient.isfinite().all()


def test_of_labels_it_is_the_mean_of_their_divergences_by_hand() -> None:
    """Yes with 3/4 against 1/4 at a temperature of 2, and a label of which both think the same."""
    logit = 2 * math.log(3.0)
    teacher, student = torch.tensor([[logit / 2, 1.0]]), torch.tensor([[-logit / 2, 1.0]])
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2

    of_one = jensen_shannon_B(student, teacher, 1.0, 0.5, "multi_label").item()
    of_two = jensen_shannon_B(2 * student, 2 * teacher, 2.0, 0.5, "multi_label").item()

    assert of_one == pytest.approx(expected)
    assert of_two == pytest.approx(4 * expected)


def softened(logits_BC: Tensor) -> Tensor:
    exponentials = (logits_BC / 3).exp()
    return exponentials / exponentials.sum(dim=1, keepdim=True)


def test_is_the_published_formula() -> None:
    """GKD, section 2: beta KL(P || M) + (1 - beta) KL(Q || M), M the mixture; times T^2."""
    student, teacher, _ = drawn(0)
    p, q = softened(teacher.logits_BC), softened(student.logits_BC)
    m = 0.3 * p + 0.7 * q
    expected = 9 * (0.3 * (p * (p / m).log()).sum(dim=1) + 0.7 * (q * (q / m).log()).sum(dim=1))

    values = jensen_shannon_B(student.logits_BC, teacher.logits_BC, 3.0, 0.3)

    torch.testing.assert_close(values, expected)


def test_over_a_small_beta_it_is_the_forward_divergence_and_over_a_large_one_the_reverse() -> None:
    """GKD, section 2: the limits of JSD / beta at 0 and of JSD / (1 - beta) at 1."""
    student, teacher, _ = drawn(0)
    p, q = softened(teacher.logits_BC), softened(student.logits_BC)

    small = jensen_shannon_B(student.logits_BC, teacher.logits_BC, 3.0, 1e-6) / 1e-6
    large = jensen_shannon_B(student.logits_BC, teacher.logits_BC, 3.0, 1 - 1e-6) / 1e-6

    torch.testing.assert_close(small, 9 * (p * (p / q).log()).sum(dim=1), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(large, 9 * (q * (q / p).log()).sum(dim=1), rtol=1e-4, atol=1e-6)
