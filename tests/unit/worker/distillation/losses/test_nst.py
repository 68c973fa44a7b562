"""Neuron selectivity transfer: numbers by hand, the published discrepancy, and channels' number."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from app.contracts.feature_losses import Nst
from app.contracts.loss import LayerPair
from worker.distillation.errors import BadInput
from worker.distillation.loss import Loss, Setting
from worker.distillation.losses import nst
from worker.distillation.losses.nst import nst_B
from worker.distillation.signals import Batch, Signals

BATCH = Batch(torch.arange(2), torch.zeros(2, dtype=torch.int64))


def loss_of(student: tuple[int, ...], teacher: tuple[int, ...]) -> Loss:
    spec = Nst(layers=[LayerPair(student="s", teacher="t")])
    return nst.build(spec, Setting({"s": student}, {"t": teacher})).double()


def signals(**features: Tensor) -> Signals:
    return Signals(torch.zeros(2, 3), features)


def fixed(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        ([[2.0, 0.0]], [[0.0, 3.0]], 1 + 1 - 2 * 0),  # at right angles: the kernel is 0
        ([[2.0, 0.0]], [[3.0, 3.0]], 1 + 1 - 2 * 0.5),  # the cosine is 1/sqrt(2)
        ([[2.0, 0.0], [0.0, 5.0]], [[1.0, 0.0]], 0.5 + 1 - 2 * 0.5),  # half the pairs are equal
    ],
)
def test_by_hand(student: list[list[float]], teacher: list[list[float]], expected: float) -> None:
    value = nst_B(torch.tensor(student)[None, :, None], torch.tensor(teacher)[None, :, None])

    assert value.item() == pytest.approx(expected)


def test_is_the_published_discrepancy() -> None:
    """Section 4, with the polynomial kernel of d = 2 and c = 0: three means over pairs."""
    student, teacher = fixed(3, 2, 4), fixed(5, 2, 4, seed=1)

    def samples(features: Tensor) -> list[Tensor]:
        return [channel / (channel**2).sum().sqrt() for channel in features]

    def mean_kernel(some: list[Tensor], others: list[Tensor]) -> float:
        kernels = [float((one * other).sum()) ** 2 for one in some for other in others]
        return sum(kernels) / len(kernels)

    expected = []
    for ours, theirs in zip(map(samples, student), map(samples, teacher), strict=True):
        within = mean_kernel(ours, ours) + mean_kernel(theirs, theirs)
        expected.append(within - 2 * mean_kernel(ours, theirs))

    assert nst_B(student, teacher).tolist() == pytest.approx(expected)


def test_it_is_the_squared_distance_of_the_mean_products_of_two_pixels() -> None:
    """The kernel's own space: a distribution is its mean of x x^T there."""
    student, teacher = fixed(3, 2, 4), fixed(5, 2, 4, seed=1)

    def mean_product(features: Tensor) -> Tensor:
        unit = F.normalize(features.flatten(2), dim=2)
        return torch.einsum("bdp,bdq->bpq", unit, unit) / features.shape[1]

    expected = (mean_product(student) - mean_product(teacher)).square().sum(dim=(1, 2))

    torch.testing.assert_close(nst_B(student, teacher), expected)


def test_the_number_of_channels_alone_does_not_matter() -> None:
    student = fixed(3, 2, 4)

    torch.testing.assert_close(
        nst_B(student, student.repeat(1, 4, 1, 1)), torch.zeros(2, dtype=torch.float64)
    )


def test_maps_meet_at_the_smaller_size() -> None:
    student, teacher = fixed(2, 7, 2), fixed(3, 3, 5, seed=1)

    values = loss_of((2, 7, 2), (3, 3, 5))(signals(s=student), signals(t=teacher), BATCH, 0)

    ours, theirs = (F.adaptive_avg_pool2d(each, (3, 2)) for each in (student, teacher))
    torch.testing.assert_close(values, nst_B(ours, theirs))


def test_a_channel_that_is_all_zero_has_no_endless_gradient() -> None:
    student = fixed(3, 4, 4).float()
    student[:, 1] = 0
    student.requires_grad_()

    values = nst_B(student, fixed(2, 4, 4, seed=1).float())
    values.sum().backward()

    assert student.grad is not None
    assert values.isfinite().all()
    assert student.grad.abs().max() < 10


def test_two_pairs_may_share_a_teachers_layer_and_add_up() -> None:
    pairs = [LayerPair(student=name, teacher="t") for name in ("s", "u")]
    loss = nst.build(Nst(layers=pairs), Setting({"s": (3, 4, 4), "u": (2, 4, 4)}, {"t": (5, 4, 4)}))
    ours, others, teacher = fixed(3, 4, 4), fixed(2, 4, 4, seed=1), fixed(5, 4, 4, seed=2)

    values = loss(signals(s=ours, u=others), signals(t=teacher), BATCH, 0)

    torch.testing.assert_close(values, nst_B(ours, teacher) + nst_B(others, teacher))


def test_a_vector_has_no_selectivity_over_an_image() -> None:
    with pytest.raises(BadInput, match="expected two image maps"):
        loss_of((4,), (3, 4, 4))
