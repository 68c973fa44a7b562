"""Hints: the distance by hand, regressors that fit, and pairs that do not."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from app.contracts.feature_losses import Hints
from app.contracts.loss import LayerPair
from worker.distillation.errors import BadInput
from worker.distillation.loss import Loss, Setting
from worker.distillation.losses import hints
from worker.distillation.signals import Batch, Signals

BATCH = Batch(torch.arange(2), torch.zeros(2, dtype=torch.int64))


def loss_of(student: tuple[int, ...], teacher: tuple[int, ...]) -> Loss:
    spec = Hints(layers=[LayerPair(student="s", teacher="t")])
    return hints.build(spec, Setting({"s": student}, {"t": teacher}))


def signals(**features: torch.Tensor) -> Signals:
    return Signals(torch.zeros(2, 3), features)


def test_the_distance_by_hand() -> None:
    student, teacher = (
        torch.tensor([[1.0, 2.0], [0.0, 0.0]]),
        torch.tensor([[1.0, 4.0], [3.0, 1.0]]),
    )

    assert hints.hints_B(student, teacher).tolist() == [2.0, 5.0]


def test_is_the_published_distance_over_the_number_of_elements() -> None:
    """Equation 3's squared length, without its factor of 1/2, over the elements' number."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64, generator=generator)

    expected = [float((a - b).norm() ** 2) / 60 for a, b in zip(student, teacher, strict=True)]

    assert hints.hints_B(student, teacher).tolist() == pytest.approx(expected)


def test_a_vector_passes_through_a_linear_regressor() -> None:
    loss = loss_of((3,), (2,))
    (regressor,) = (module for module in loss.modules() if isinstance(module, nn.Linear))
    student, teacher = torch.rand(2, 3), torch.rand(2, 2)

    values = loss(signals(s=student), signals(t=teacher), BATCH, 0)

    torch.testing.assert_close(values, (regressor(student) - teacher).square().mean(dim=1))


@pytest.mark.parametrize(
    ("student", "teacher", "size"),
    [
        ((2, 4, 4), (3, 4, 4), (4, 4)),
        ((2, 8, 6), (3, 4, 3), (4, 3)),
        ((2, 3, 5), (3, 7, 5), (3, 5)),
        ((2, 7, 2), (3, 3, 5), (3, 2)),
    ],
)
def test_maps_meet_at_the_smaller_size(
    student: tuple[int, ...], teacher: tuple[int, ...], size: tuple[int, int]
) -> None:
    loss = loss_of(student, teacher)
    (regressor,) = (module for module in loss.modules() if isinstance(module, nn.Conv2d))
    ours, theirs = torch.rand(2, *student), torch.rand(2, *teacher)

    values = loss(signals(s=ours), signals(t=theirs), BATCH, 0)

    pooled = regressor(F.adaptive_avg_pool2d(ours, size))
    expected = (pooled - F.adaptive_avg_pool2d(theirs, size)).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(values, expected)


def test_is_zero_with_zero_gradient_when_the_regressor_meets_the_teacher() -> None:
    loss = loss_of((3,), (2,))
    (regressor,) = (module for module in loss.modules() if isinstance(module, nn.Linear))
    student = torch.rand(2, 3, requires_grad=True)

    values = loss(signals(s=student), signals(t=regressor(student).detach()), BATCH, 0)
    (gradient,) = torch.autograd.grad(values.sum(), student)

    assert values.tolist() == [0.0, 0.0]
    assert gradient.abs().max() == 0


def test_two_pairs_may_share_a_teachers_layer_and_add_up() -> None:
    pairs = [LayerPair(student=name, teacher="t") for name in ("s", "u")]
    loss = hints.build(Hints(layers=pairs), Setting({"s": (3,), "u": (4,)}, {"t": (2,)}))
    student = signals(s=torch.rand(2, 3), u=torch.rand(2, 4))
    teacher = signals(t=torch.rand(2, 2))
    first, second = (module for module in loss.modules() if isinstance(module, nn.Linear))

    values = loss(student, teacher, BATCH, 0)

    expected = hints.hints_B(first(student.features["s"]), teacher.features["t"])
    expected = expected + hints.hints_B(second(student.features["u"]), teacher.features["t"])
    torch.testing.assert_close(values, expected)
    assert {name for name, _ in loss.named_parameters()} == {
        f"comparisons.{pair}.regressor.{part}" for pair in (0, 1) for part in ("weight", "bias")
    }


@pytest.mark.parametrize(
    ("student", "teacher"), [((2, 4, 4), (5,)), ((3,), (5, 4, 4))], ids=["map", "vector"]
)
def test_beside_a_vector_a_map_is_averaged_over_its_image(
    student: tuple[int, ...], teacher: tuple[int, ...]
) -> None:
    loss = loss_of(student, teacher)
    (regressor,) = (module for module in loss.modules() if isinstance(module, nn.Linear))
    ours, theirs = torch.rand(2, *student), torch.rand(2, *teacher)

    values = loss(signals(s=ours), signals(t=theirs), BATCH, 0)

    ours, theirs = ours.reshape(2, student[0], -1), theirs.reshape(2, teacher[0], -1)
    expected = (regressor(ours.mean(dim=2)) - theirs.mean(dim=2)).square().mean(dim=1)
    torch.testing.assert_close(values, expected)


@pytest.mark.parametrize("shapes", [((5, 3), (5, 3)), ((), (2,))])
def test_layers_that_are_neither_vectors_nor_maps_do_not_pair(
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    with pytest.raises(BadInput, match="expected vectors or image maps") as caught:
        loss_of(*shapes)

    assert caught.value.code == "layers_do_not_pair"
