"""Activation boundaries: numbers by hand, the formula of the paper, and signs alone."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.contracts.feature_losses import ActivationBoundary
from app.contracts.loss import LayerPair
from worker.distillation.errors import BadInput
from worker.distillation.loss import Loss, Setting
from worker.distillation.losses import activation_boundary
from worker.distillation.losses.activation_boundary import activation_boundary_B
from worker.distillation.signals import Batch, Signals


def loss_of(student: tuple[int, ...], teacher: tuple[int, ...], margin: float = 2.0) -> Loss:
    spec = ActivationBoundary(layers=[LayerPair(student="s", teacher="t")], margin=margin)
    return activation_boundary.build(spec, Setting({"s": student}, {"t": teacher})).double()


def values_B(loss: Loss, student: Tensor, teacher: Tensor) -> Tensor:
    nothing, batch = torch.zeros(len(student), 3), Batch(torch.arange(2), torch.zeros(2))
    values: Tensor = loss(
        Signals(nothing, {"s": student}), Signals(nothing, {"t": teacher}), batch, 0
    )
    return values


def fixed(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, dtype=torch.float64, generator=generator)


def test_by_hand() -> None:
    """At margin 2: firing short by 1 and by 0; silent, and at 0, above -2 by 3 and by 0."""
    student = torch.tensor([[[[1.0, 5.0, 1.0, -2.0]]]])
    teacher = torch.tensor([[[[0.1, 9.0, -0.1, 0.0]]]])

    assert activation_boundary_B(student, teacher, 2.0).tolist() == [(1 + 0 + 9 + 0) / 4]


@pytest.mark.parametrize("margin", [0.5, 2.0])
def test_is_the_papers_formula_over_the_number_of_elements(margin: float) -> None:
    """|rho(T) s(m - S) + (1 - rho(T)) s(m + S)|_2^2, rho 1 above 0, s the ReLU; over 24."""
    student, teacher = 2 * fixed(2, 3, 4), fixed(2, 3, 4, seed=1)

    expected = []
    for ours, theirs in zip(student, teacher, strict=True):
        total = 0.0
        for s, t in zip(ours.flatten().tolist(), theirs.flatten().tolist(), strict=True):
            rho = 1 if t > 0 else 0
            total += (rho * max(margin - s, 0) + (1 - rho) * max(margin + s, 0)) ** 2
        expected.append(total / 24)

    assert activation_boundary_B(student, teacher, margin).tolist() == pytest.approx(expected)


def test_only_the_sign_of_the_teachers_response_counts() -> None:
    loss, student, teacher = loss_of((3, 4, 4), (2, 4, 4)), fixed(3, 4, 4), fixed(2, 4, 4, seed=1)

    assert torch.equal(values_B(loss, student, teacher), values_B(loss, student, teacher.sign()))
    assert not torch.equal(values_B(loss, student, teacher), values_B(loss, student, -teacher))


def test_a_student_beyond_the_margin_learns_nothing() -> None:
    teacher = fixed(2, 3, 4)
    student = (3 * teacher.sign()).requires_grad_()

    values = activation_boundary_B(student, teacher, 2.0)
    (gradient,) = torch.autograd.grad(values.sum(), student)

    assert values.tolist() == [0, 0]
    assert gradient.abs().max() == 0


@pytest.mark.parametrize("size", [(4, 4), (2, 4), (8, 3)])
def test_a_1x1_convolution_connects_maps_that_meet_at_the_smaller_sides(
    size: tuple[int, int],
) -> None:
    loss, student, teacher = loss_of((3, *size), (2, 4, 4)), fixed(3, *size), fixed(2, 4, 4, seed=1)
    (connector,) = (module for module in loss.modules() if isinstance(module, nn.Conv2d))
    smaller = (min(size[0], 4), min(size[1], 4))

    values = values_B(loss, student, teacher)

    connected = connector(F.adaptive_avg_pool2d(student, smaller))
    expected = activation_boundary_B(connected, F.adaptive_avg_pool2d(teacher, smaller), 2.0)
    assert connector.kernel_size == (1, 1)
    torch.testing.assert_close(values, expected)


def test_vectors_are_refused() -> None:
    with pytest.raises(BadInput, match="expected two image maps"):
        loss_of((3,), (2,))
