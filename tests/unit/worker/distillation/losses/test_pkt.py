"""Probabilistic knowledge transfer: numbers by hand, the reference's formula, and opposites."""

import math

import pytest
import torch
from torch import Tensor

from app.contracts.feature_losses import Pkt
from app.contracts.loss import LayerPair
from worker.distillation.loss import Setting
from worker.distillation.losses import pkt
from worker.distillation.losses.pkt import pkt_B, probabilities_BB
from worker.distillation.signals import Batch, Signals

OPPOSITES = torch.tensor([[1.0], [-2.0]])
ALIKE = torch.tensor([[1.0], [2.0]])
AT_RIGHT_ANGLES = torch.eye(2)


def fixed(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def test_probabilities_by_hand() -> None:
    """Similarities with itself 1; with the other 1, 1/2 or 0."""
    torch.testing.assert_close(probabilities_BB(ALIKE)[0], torch.tensor([1 / 2, 1 / 2]))
    torch.testing.assert_close(probabilities_BB(AT_RIGHT_ANGLES)[0], torch.tensor([2 / 3, 1 / 3]))
    torch.testing.assert_close(probabilities_BB(OPPOSITES)[1], torch.tensor([1e-7, 1 - 1e-7]))


def test_the_divergence_by_hand() -> None:
    """KL((1/2, 1/2) || (2/3, 1/3)) is log(9/8) / 2; KL((1, 0) || (2/3, 1/3)) is log(3/2)."""
    alike, opposites = (pkt_B(AT_RIGHT_ANGLES, teacher) for teacher in (ALIKE, OPPOSITES))

    assert alike.tolist() == pytest.approx([math.log(9 / 8) / 4] * 2, rel=1e-5)
    assert opposites.tolist() == pytest.approx([math.log(3 / 2) / 2] * 2, rel=1e-5)


def test_the_mean_over_the_batch_is_the_reference_implementations_value() -> None:
    """The authors' code: own example included, 1e-7 within the logarithm, the mean over B^2."""
    student, teacher = fixed(5, 7), fixed(5, 3, 2, 2, seed=1)

    def conditional(features: Tensor) -> list[list[float]]:
        unit = [each / (each**2).sum().sqrt() for each in features]
        rows = [[(float((one * other).sum()) + 1) / 2 for other in unit] for one in unit]
        return [[each / sum(row) for each in row] for row in rows]

    p, q = conditional(teacher), conditional(student)
    terms = [
        p[i][j] * math.log((p[i][j] + 1e-7) / (q[i][j] + 1e-7)) for i in range(5) for j in range(5)
    ]

    assert float(pkt_B(student, teacher).mean()) == pytest.approx(sum(terms) / 25, rel=1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_long_opposites_have_a_finite_value_and_gradient_in_float32(seed: int) -> None:
    """Their cosine is -1 but for rounding, on either side of it."""
    one = fixed(1, 100_000, seed=seed).float()
    student = torch.cat([one, -one, 3 * one, -7 * one]).requires_grad_()

    values = pkt_B(student, fixed(4, 3).float())
    values.sum().backward()

    assert student.grad is not None
    assert values.isfinite().all()
    assert student.grad.isfinite().all()


def test_near_equals_it_is_never_negative() -> None:
    teacher = fixed(5, 3)

    values = [pkt_B(teacher + 1e-5 * fixed(5, 3, seed=seed), teacher) for seed in range(20)]

    assert torch.stack(values).min() >= -1e-15


def test_two_pairs_may_share_a_teachers_layer_and_add_up() -> None:
    pairs = [LayerPair(student=name, teacher="t") for name in ("s", "u")]
    loss = pkt.build(Pkt(layers=pairs), Setting())
    ours, others, teacher = fixed(5, 3), fixed(5, 2, 4, 4, seed=1), fixed(5, 6, seed=2)
    nothing, batch = torch.zeros(5, 3), Batch(torch.arange(5), torch.zeros(5))

    values = loss(
        Signals(nothing, {"s": ours, "u": others}), Signals(nothing, {"t": teacher}), batch, 0
    )

    torch.testing.assert_close(values, pkt_B(ours, teacher) + pkt_B(others, teacher))
