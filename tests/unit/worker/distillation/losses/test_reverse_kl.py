"""The reverse divergence: numbers by hand, then the published formula."""

import math

import pytest
import torch
from torch import Tensor

from tests.unit.worker.distillation.losses.every_loss import drawn
from worker.distillation.losses.reverse_kl import reverse_kl_B


def test_by_hand() -> None:  # student (1/2, 1/2), teacher (3/4, 1/4)
    student, teacher = torch.zeros(1, 2), torch.tensor([[math.log(3.0), 0.0]])
    expected = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)

    assert reverse_kl_B(student, teacher, temperature=1.0).item() == pytest.approx(expected)


def test_the_square_of_the_temperature_by_hand() -> None:
    student, teacher = torch.zeros(1, 2), torch.tensor([[2 * math.log(3.0), 0.0]])
    expected = 4 * (0.5 * math.log(2 / 3) + 0.5 * math.log(2))

    assert reverse_kl_B(student, teacher, temperature=2.0).item() == pytest.approx(expected)


def test_of_labels_it_is_the_mean_of_their_divergences_by_hand() -> None:
    """Yes with 1/2 against 3/4 at a temperature of 2, and a label of which both think the same."""
    student, teacher = torch.tensor([[0.0, 1.0]]), torch.tensor([[2 * math.log(3.0), 1.0]])
    expected = 4 * (0.5 * math.log(2 / 3) + 0.5 * math.log(2)) / 2

    value = reverse_kl_B(student, teacher, 2.0, "multi_label").item()

    assert value == pytest.approx(expected)


def test_is_the_published_formula() -> None:
    """MiniLLM, section 2.1: KL(q || p) = sum of q log (q / p) with the student's q; times T^2."""
    student, teacher, _ = drawn(0)

    def softened(logits_BC: Tensor) -> Tensor:
        exponentials = (logits_BC / 3).exp()
        return exponentials / exponentials.sum(dim=1, keepdim=True)

    q, p = softened(student.logits_BC), softened(teacher.logits_BC)
    expected = 9 * (q * (q / p).log()).sum(dim=1)

    torch.testing.assert_close(reverse_kl_B(student.logits_BC, teacher.logits_BC, 3.0), expected)


def test_it_punishes_what_the_teacher_rules_out_and_not_what_the_student_leaves_out() -> None:
    """A student sure of one of the teacher's two classes is off by log 2, not by the gap."""
    sure, of_two = torch.tensor([[0.0, -1e4, -1e4]]), torch.tensor([[0.0, 0.0, -1e4]])

    assert reverse_kl_B(sure, of_two, 1.0).item() == pytest.approx(math.log(2))
    assert reverse_kl_B(of_two, sure, 1.0).item() == pytest.approx(5e3, rel=1e-3)
