"""Similarity: a number by hand, the published equations, and what no scale may change."""

import pytest
import torch
from torch import Tensor

from app.contracts.feature_losses import Similarity
from app.contracts.loss import LayerPair
from worker.distillation.loss import Setting
from worker.distillation.losses import similarity
from worker.distillation.losses.similarity import similarity_B
from worker.distillation.signals import Batch, Signals


def fixed(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def test_by_hand() -> None:
    """Rows (1, 0) and (0, 1) against rows of 1/sqrt(2): each differs by 2 - sqrt(2), squared."""
    student, teacher = torch.eye(2), torch.tensor([[3.0], [3.0]])

    values = similarity_B(student, teacher)

    assert values.tolist() == pytest.approx([(2 - 2**0.5) / 2] * 2)


def test_the_mean_over_the_batch_is_the_published_loss() -> None:
    """Equations 2 to 4, for maps of different shapes: rows at length 1, squares over b^2."""
    student, teacher = fixed(5, 3, 4, 4), fixed(5, 6, 2, 2, seed=1)

    def normalised(features: Tensor) -> list[list[float]]:
        rows = [[float((one * other).sum()) for other in features] for one in features]
        return [[each / sum(x * x for x in row) ** 0.5 for each in row] for row in rows]

    ours, theirs = normalised(student), normalised(teacher)
    squares = [(ours[i][j] - theirs[i][j]) ** 2 for i in range(5) for j in range(5)]

    assert float(similarity_B(student, teacher).mean()) == pytest.approx(sum(squares) / 5**2)


@pytest.mark.parametrize("scale", [1e-12, 1e15])
def test_products_of_large_and_small_features_stay_within_float32(scale: float) -> None:
    student, teacher = fixed(5, 7).float(), fixed(5, 3, seed=1).float()

    torch.testing.assert_close(
        similarity_B(scale * student, scale * teacher), similarity_B(student, teacher)
    )


def test_an_example_that_is_all_zero_has_no_endless_gradient() -> None:
    student = fixed(4, 6).float()
    student[2] = 0
    student.requires_grad_()

    values = similarity_B(student, fixed(4, 3, seed=1).float())
    values.sum().backward()

    assert student.grad is not None
    assert values.isfinite().all()
    assert student.grad.abs().max() < 10


def test_two_pairs_may_share_a_teachers_layer_and_add_up() -> None:
    pairs = [LayerPair(student=name, teacher="t") for name in ("s", "u")]
    loss = similarity.build(Similarity(layers=pairs), Setting())
    ours, others, teacher = fixed(5, 3), fixed(5, 2, 4, 4, seed=1), fixed(5, 6, seed=2)
    nothing, batch = torch.zeros(5, 3), Batch(torch.arange(5), torch.zeros(5))

    values = loss(
        Signals(nothing, {"s": ours, "u": others}), Signals(nothing, {"t": teacher}), batch, 0
    )

    expected = similarity_B(ours, teacher) + similarity_B(others, teacher)
    torch.testing.assert_close(values, expected)
