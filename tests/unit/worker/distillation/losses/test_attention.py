"""Attention: numbers by hand, the formula of the field, and what no scale may change."""

import pytest
import torch
from torch import Tensor

from app.contracts.feature_losses import Attention
from app.contracts.loss import LayerPair
from worker.distillation.errors import BadInput
from worker.distillation.loss import Loss, Setting
from worker.distillation.losses import attention
from worker.distillation.signals import Batch, Signals

BATCH = Batch(torch.arange(2), torch.zeros(2, dtype=torch.int64))


def loss_of(student: tuple[int, ...], teacher: tuple[int, ...], exponent: float = 2) -> Loss:
    spec = Attention(layers=[LayerPair(student="s", teacher="t")], exponent=exponent)
    return attention.build(spec, Setting({"s": student}, {"t": teacher}))


def values_B(loss: Loss, student: Tensor, teacher: Tensor) -> Tensor:
    logits_BC = torch.zeros(len(student), 3)
    values: Tensor = loss(
        Signals(logits_BC, {"s": student}), Signals(logits_BC, {"t": teacher}), BATCH, 0
    )
    return values


def fixed(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, dtype=torch.float64, generator=generator)


def test_by_hand() -> None:
    """Squares add up over channels to (3, 4) and (4, 3): at length 1, (0.6, 0.8), (0.8, 0.6)."""
    student = torch.tensor([[[[1.0, 2.0]], [[2**0.5, 0.0]]]])
    teacher = torch.tensor([[[[2.0, -(3**0.5)]]]])

    value = values_B(loss_of((2, 1, 2), (1, 1, 2)), student, teacher).item()

    assert value == pytest.approx((0.2**2 + 0.2**2) / 2)


def test_attention_and_not_the_map_is_averaged_into_the_smaller_size_by_hand() -> None:
    """Absolute values 1 and 5, 8 and 0 average to (3, 4); as signed values they would not."""
    student = torch.tensor([[[[1.0, -5.0, -8.0, 0.0]]]])
    teacher = torch.tensor([[[[4.0, -3.0]]]])

    value = values_B(loss_of((1, 1, 4), (1, 1, 2), exponent=1), student, teacher).item()

    assert value == pytest.approx(0.2**2)


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.5])
def test_is_the_formula_of_the_papers_code(exponent: float) -> None:
    """Section 3.1's Q over its length; the mean of squares as in the authors' `at_loss`."""
    student, teacher = fixed(3, 4, 5), fixed(6, 4, 5, seed=1)

    def attention_of(features_DHW: Tensor) -> Tensor:
        summed = sum(channel.abs() ** exponent for channel in features_DHW)
        assert isinstance(summed, Tensor)
        return summed / (summed**2).sum().sqrt()

    expected = [
        float(((attention_of(ours) - attention_of(theirs)) ** 2).sum() / 20)
        for ours, theirs in zip(student, teacher, strict=True)
    ]
    values = values_B(loss_of((3, 4, 5), (6, 4, 5), exponent), student, teacher)

    assert values.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_powers_of_large_and_small_activations_stay_within_float32(scale: float) -> None:
    loss = loss_of((3, 4, 4), (2, 4, 4), exponent=8)
    student, teacher = fixed(3, 4, 4).float(), fixed(2, 4, 4, seed=1).float()

    scaled = values_B(loss, scale * student, scale * teacher)

    torch.testing.assert_close(scaled, values_B(loss, student, teacher))


def test_a_map_of_zeros_has_a_finite_value_and_gradient() -> None:
    student = torch.zeros(2, 3, 4, 4, requires_grad=True)
    teacher = fixed(2, 4, 4).float()

    values = values_B(loss_of((3, 4, 4), (2, 4, 4)), student, teacher)
    values.sum().backward()

    assert student.grad is not None
    torch.testing.assert_close(values, torch.full((2,), 1 / 16))  # the teacher's length over 16
    assert student.grad.abs().max() == 0


def test_two_pairs_may_share_a_teachers_layer_and_add_up() -> None:
    pairs = [LayerPair(student=name, teacher="t") for name in ("s", "u")]
    shapes = {"s": (3, 4, 4), "u": (2, 8, 8)}
    loss = attention.build(Attention(layers=pairs), Setting(shapes, {"t": (5, 4, 4)})).double()
    ours, others, teacher = fixed(3, 4, 4), fixed(2, 8, 8, seed=1), fixed(5, 4, 4, seed=2)
    student = Signals(torch.zeros(2, 3), {"s": ours, "u": others})

    values = loss(student, Signals(torch.zeros(2, 3), {"t": teacher}), BATCH, 0)

    one = values_B(loss_of((3, 4, 4), (5, 4, 4)), ours, teacher)
    other = values_B(loss_of((2, 8, 8), (5, 4, 4)).double(), others, teacher)
    torch.testing.assert_close(values, one + other)


def test_a_vector_has_no_attention() -> None:
    with pytest.raises(BadInput, match="expected two image maps"):
        loss_of((4,), (3, 4, 4))
