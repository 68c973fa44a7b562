"""Variational information distillation: numbers by hand, the published density, what it learns."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.contracts.feature_losses import Vid
from app.contracts.loss import LayerPair
from worker.distillation.errors import BadInput
from worker.distillation.loss import Loss, Setting
from worker.distillation.losses import vid
from worker.distillation.losses.vid import LEAST_VARIANCE, GaussianModel, vid_B
from worker.distillation.signals import Batch, Signals

BATCH = Batch(torch.arange(2), torch.zeros(2, dtype=torch.int64))


def loss_of(student: tuple[int, ...], teacher: tuple[int, ...]) -> Loss:
    spec = Vid(layers=[LayerPair(student="s", teacher="t")])
    return vid.build(spec, Setting({"s": student}, {"t": teacher}))


def signals(**features: Tensor) -> Signals:
    return Signals(torch.zeros(2, 3), features)


def fixed(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, dtype=torch.float64, generator=generator)


def test_by_hand() -> None:
    """Sigma 1 and a miss of 1: 0 + 1/2. Sigma e and no miss: 1 + 0. Their mean is 3/4."""
    mean, teacher = torch.tensor([[2.0, 5.0]]), torch.tensor([[3.0, 5.0]])

    value = vid_B(mean, teacher, torch.tensor([1.0, math.e**2])).item()

    assert value == pytest.approx(0.75)


def test_it_is_negative_where_the_teacher_is_foreseen_closely_by_hand() -> None:
    """Sigma 1/10 and no miss: -log 10."""
    same = torch.ones(1, 2)

    value = vid_B(same, same, torch.tensor([0.01, 0.01])).item()

    assert value == pytest.approx(-math.log(10))


def test_is_the_published_density_without_its_constant() -> None:
    """Equations 5 and 6, element by element, with one variance per channel."""
    mean, teacher = fixed(3, 2, 4), fixed(3, 2, 4, seed=1)
    variance = torch.tensor([0.3, 1.0, 7.0], dtype=torch.float64)
    total = torch.zeros(2, dtype=torch.float64)
    for channel, sigma in enumerate(variance.sqrt().tolist()):
        density = torch.distributions.Normal(mean[:, channel], sigma)
        total -= density.log_prob(teacher[:, channel]).sum(dim=(1, 2))

    expected = total / (3 * 2 * 4) - math.log(2 * math.pi) / 2

    torch.testing.assert_close(vid_B(mean, teacher, variance), expected)


def test_the_best_variance_is_the_mean_squared_miss() -> None:
    mean, teacher = fixed(3, 4, 4), fixed(3, 4, 4, seed=1)
    variance = (teacher - mean).square().mean(dim=(0, 2, 3)).requires_grad_()

    (gradient,) = torch.autograd.grad(vid_B(mean, teacher, variance).mean(), variance)

    assert gradient.abs().max() < 1e-12


def test_its_variance_begins_at_5_and_stays_above_0_whatever_is_learned() -> None:
    model = GaussianModel((3,), (2,))
    assert model.variance_D().tolist() == pytest.approx([5.0, 5.0])

    nn.init.constant_(model.raw_variance_D, -1e4)

    assert model.variance_D().tolist() == pytest.approx([LEAST_VARIANCE] * 2)


def test_a_vector_passes_through_a_linear_regressor() -> None:
    loss = loss_of((3,), (2,))
    (regressor,) = (module for module in loss.modules() if isinstance(module, nn.Linear))
    student, teacher = torch.rand(2, 3), torch.rand(2, 2)

    values = loss(signals(s=student), signals(t=teacher), BATCH, 0)

    torch.testing.assert_close(values, vid_B(regressor(student), teacher, torch.full((2,), 5.0)))


def test_a_map_meets_the_teachers_size_and_passes_through_1x1_convolutions() -> None:
    loss = loss_of((2, 8, 6), (3, 4, 3))
    first, second, third = (each for each in loss.modules() if isinstance(each, nn.Conv2d))
    student, teacher = torch.rand(2, 2, 8, 6), torch.rand(2, 3, 4, 3)

    values = loss(signals(s=student), signals(t=teacher), BATCH, 0)

    pooled = F.adaptive_avg_pool2d(student, (4, 3))
    mean = third(second(first(pooled).relu()).relu())
    torch.testing.assert_close(values, vid_B(mean, teacher, torch.full((3,), 5.0)))
    assert {each.kernel_size for each in (first, second, third)} == {(1, 1)}


def test_beside_a_vector_a_map_is_averaged_over_its_image() -> None:
    loss = loss_of((2, 4, 4), (5,))
    (regressor,) = (module for module in loss.modules() if isinstance(module, nn.Linear))
    student, teacher = torch.rand(2, 2, 4, 4), torch.rand(2, 5)

    values = loss(signals(s=student), signals(t=teacher), BATCH, 0)

    mean = regressor(student.mean(dim=(2, 3)))
    torch.testing.assert_close(values, vid_B(mean, teacher, torch.full((5,), 5.0)))


def test_each_pair_on_one_layer_of_the_teacher_has_a_regressor_and_a_variance_of_its_own() -> None:
    pairs = [LayerPair(student=name, teacher="t") for name in ("s", "u")]
    loss = vid.build(Vid(layers=pairs), Setting({"s": (3,), "u": (4,)}, {"t": (2,)}))
    ours, others, teacher = torch.rand(2, 3), torch.rand(2, 4), torch.rand(2, 2)
    first, second = (module for module in loss.modules() if isinstance(module, GaussianModel))
    nn.init.zeros_(second.raw_variance_D)

    values = loss(signals(s=ours, u=others), signals(t=teacher), BATCH, 0)

    torch.testing.assert_close(values, first(ours, teacher) + second(others, teacher))
    assert {name for name, _ in loss.named_parameters()} == {
        f"comparisons.{pair}.{part}"
        for pair in (0, 1)
        for part in ("raw_variance_D", "regressor.weight", "regressor.bias")
    }


def test_layers_that_are_neither_vectors_nor_maps_do_not_pair() -> None:
    with pytest.raises(BadInput, match="expected vectors or image maps"):
        loss_of((5, 3), (3,))
