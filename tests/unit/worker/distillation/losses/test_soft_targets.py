"""Numbers worked out by hand, the published formula, then laws of its own."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from app.contracts.response_losses import SoftTargets
from worker.distillation.loss import Setting
from worker.distillation.losses.soft_targets import build, soft_targets_B
from worker.distillation.signals import Batch, Signals

finite = st.floats(-20, 20)
rows = st.lists(st.lists(finite, min_size=3, max_size=3), min_size=1, max_size=4)
temperatures = st.floats(0.5, 20)


def test_by_hand() -> None:  # teacher (3/4, 1/4), student (1/2, 1/2)
    teacher, student = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)

    assert soft_targets_B(student, teacher, temperature=1.0).item() == pytest.approx(expected)


def test_the_square_of_the_temperature_by_hand() -> None:
    teacher, student = torch.tensor([[2 * math.log(3.0), 0.0]]), torch.zeros(1, 2)
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))

    assert soft_targets_B(student, teacher, temperature=2.0).item() == pytest.approx(expected)


@pytest.mark.parametrize("weight", [0.0, 1.0, 100.0])
def test_the_square_of_the_temperature_stays_at_any_weight(weight: float) -> None:
    teacher, student = Signals(torch.tensor([[2 * math.log(3.0), 0.0]])), Signals(torch.zeros(1, 2))
    batch = Batch(torch.arange(1), torch.zeros(1, dtype=torch.int64))
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))

    loss = build(SoftTargets(weight=weight, temperature=2.0), Setting())

    assert loss(student, teacher, batch, 0).item() == pytest.approx(expected)


def test_classes_that_both_rule_out_change_nothing() -> None:
    """A mean over the classes would be halved."""
    teacher, student = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)
    ruled_out = torch.full((1, 2), -1e4)

    padded = soft_targets_B(
        torch.cat([student, ruled_out], dim=1), torch.cat([teacher, ruled_out], dim=1), 1.0
    )

    torch.testing.assert_close(padded, soft_targets_B(student, teacher, 1.0))


def test_of_labels_it_is_the_mean_of_their_divergences_by_hand() -> None:
    """Yes with 3/4 against 1/2 at a temperature of 2, and a label of which both think the same."""
    teacher, student = torch.tensor([[2 * math.log(3.0), 1.0]]), torch.tensor([[0.0, 1.0]])
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2

    value = soft_targets_B(student, teacher, 2.0, "multi_label").item()

    assert value == pytest.approx(expected)


def test_is_the_published_formula() -> None:
    """Section 2: soft probabilities q, cross-entropy with them less their entropy, times T^2."""
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(6, 5, dtype=torch.float64, generator=generator)
    teacher = torch.randn(6, 5, dtype=torch.float64, generator=generator)

    def softened(logits_BC: torch.Tensor) -> torch.Tensor:
        exponentials = (logits_BC / 3).exp()
        return exponentials / exponentials.sum(dim=1, keepdim=True)

    q, p = softened(student), softened(teacher)
    expected = 9 * (-(p * q.log()).sum(dim=1) + (p * p.log()).sum(dim=1))

    torch.testing.assert_close(soft_targets_B(student, teacher, 3.0), expected)


@settings(deadline=None)
@given(rows, temperatures)
def test_between_equals_it_and_its_gradient_are_zero(
    logits: list[list[float]], temperature: float
) -> None:
    student = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    value = soft_targets_B(student, student.detach().clone(), temperature)
    (gradient,) = torch.autograd.grad(value.sum(), student)

    assert value.abs().max() < 1e-9
    assert gradient.abs().max() < 1e-9


@settings(deadline=None)
@given(rows, temperatures, finite, finite)
def test_ignores_a_shift_of_all_logits(
    logits: list[list[float]], temperature: float, shift: float, other: float
) -> None:
    student = torch.tensor(logits, dtype=torch.float64)
    teacher = student.flip(1)

    torch.testing.assert_close(
        soft_targets_B(student + shift, teacher + other, temperature),
        soft_targets_B(student, teacher, temperature),
    )


def test_at_high_temperature_matches_centred_logits() -> None:
    """In the limit the gradient is that of half the squared distance of centred logits over C."""
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(5, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    teacher = torch.randn(5, 4, dtype=torch.float64, generator=generator)

    def centred(logits_BC: torch.Tensor) -> torch.Tensor:
        return logits_BC - logits_BC.mean(dim=1, keepdim=True)

    (ours,) = torch.autograd.grad(soft_targets_B(student, teacher, 1e4).mean(), student)
    limit = F.mse_loss(centred(student), centred(teacher), reduction="sum") / (2 * 4 * 5)
    (theirs,) = torch.autograd.grad(limit, student)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)
