"""Correlation: numbers by hand, the published kernel and its series, and layers of any width."""

import math

import pytest
import torch
from torch import Tensor

from app.contracts.feature_losses import Correlation
from app.contracts.loss import LayerPair
from worker.distillation.loss import Setting
from worker.distillation.losses import correlation
from worker.distillation.losses.correlation import correlation_B, kernel_BB
from worker.distillation.signals import Batch, Signals


def fixed(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def test_by_hand() -> None:
    """At gamma 1/2 the kernel is (1 + c + c^2 / 2) / e: 2.5 / e for c = 1, and 1 / e for c = 0."""
    student, teacher = torch.eye(2), torch.tensor([[3.0], [5.0]])

    values = correlation_B(student, teacher, gamma=0.5, order=2)

    assert values.tolist() == pytest.approx([(1.5 / math.e) ** 2 / 2] * 2)


def test_the_mean_over_the_batch_is_the_published_loss() -> None:
    """The series of the Gaussian kernel written out, and the mean of squares over n^2 entries."""
    student, teacher = fixed(5, 7), fixed(5, 3, 2, 2, seed=1)
    gamma, order = 0.4, 3

    def kernel(one: Tensor, other: Tensor) -> float:
        product = float((one * other).sum() / ((one**2).sum() * (other**2).sum()).sqrt())
        terms = [(2 * gamma) ** p / math.factorial(p) * product**p for p in range(order + 1)]
        return math.exp(-2 * gamma) * sum(terms)

    squares = [
        (kernel(student[i], student[j]) - kernel(teacher[i], teacher[j])) ** 2
        for i in range(5)
        for j in range(5)
    ]
    values = correlation_B(student, teacher, gamma, order)

    assert float(values.mean()) == pytest.approx(sum(squares) / 25)


def test_the_series_goes_to_the_gaussian_kernel() -> None:
    features = fixed(5, 7)
    unit = features / features.norm(dim=1, keepdim=True)
    squared_distances = torch.cdist(unit, unit).square()

    kernel = kernel_BB(features, gamma=0.4, order=8)

    torch.testing.assert_close(kernel, (-0.4 * squared_distances).exp(), rtol=1e-5, atol=1e-5)


def test_between_equals_it_and_its_gradient_are_zero() -> None:
    student = fixed(5, 7).requires_grad_()

    values = correlation_B(student, student.detach().clone(), gamma=0.4, order=2)
    (gradient,) = torch.autograd.grad(values.sum(), student)

    assert values.abs().max() == 0
    assert gradient.abs().max() == 0


def test_nothing_is_learned_that_could_take_both_sides_to_one_point() -> None:
    pairs = [LayerPair(student="s", teacher="t")]

    loss = correlation.build(Correlation(layers=pairs), Setting({"s": (3,)}, {"t": (5,)}))

    assert list(loss.parameters()) == []


def test_two_pairs_may_share_a_teachers_layer_and_add_up() -> None:
    pairs = [LayerPair(student=name, teacher="t") for name in ("s", "u")]
    loss = correlation.build(Correlation(layers=pairs, gamma=0.7, order=4), Setting())
    ours, others, teacher = fixed(5, 3), fixed(5, 2, 4, 4, seed=1), fixed(5, 6, seed=2)
    nothing, batch = torch.zeros(5, 3), Batch(torch.arange(5), torch.zeros(5))

    values = loss(
        Signals(nothing, {"s": ours, "u": others}), Signals(nothing, {"t": teacher}), batch, 0
    )

    expected = correlation_B(ours, teacher, 0.7, 4) + correlation_B(others, teacher, 0.7, 4)
    torch.testing.assert_close(values, expected)
