"""Embedding: both distances by hand and by their formulas, and projections that fit."""

import math

import pytest
import torch
from torch import Tensor, nn

from app.contracts.feature_losses import Embedding
from app.contracts.loss import LayerPair
from worker.distillation.errors import BadInput
from worker.distillation.loss import Loss, Setting
from worker.distillation.losses import embedding
from worker.distillation.losses.embedding import cosine_B, mse_B
from worker.distillation.signals import Batch, Signals


def loss_of(student: tuple[int, ...], teacher: tuple[int, ...], **settings: object) -> Loss:
    pairs = [LayerPair(student="s", teacher="t")]
    spec = Embedding.model_validate({"layers": pairs, **settings})
    return embedding.build(spec, Setting({"s": student}, {"t": teacher})).double()


def values_B(loss: Loss, student: Tensor, teacher: Tensor) -> Tensor:
    nothing, batch = torch.zeros(len(student), 3), Batch(torch.arange(2), torch.zeros(2))
    values: Tensor = loss(
        Signals(nothing, {"s": student}), Signals(nothing, {"t": teacher}), batch, 0
    )
    return values


def fixed(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, dtype=torch.float64, generator=generator)


def test_cosines_by_hand() -> None:
    """(3, 4) and (4, 3): 1 - 24/25; the same direction 0, a right angle 1, the opposite 2."""
    student = torch.tensor([[3.0, 4.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    teacher = torch.tensor([[4.0, 3.0], [5.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])

    assert cosine_B(student, teacher).tolist() == pytest.approx([0.04, 0, 1, 2], abs=1e-6)


def test_squares_by_hand() -> None:
    """Differences of 1 and 3: (1 + 9) / 2."""
    assert mse_B(torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 5.0]])).tolist() == [5.0]


def test_the_cosine_is_the_formula_of_the_books() -> None:
    """1 - <a, b> / (|a| |b|), as torch.nn.CosineEmbeddingLoss for a target of 1 (DistilBERT's)."""
    student, teacher = fixed(5), fixed(5, seed=1)

    expected = [
        1 - sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))
        for a, b in zip(student.tolist(), teacher.tolist(), strict=True)
    ]

    assert cosine_B(student, teacher).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("scale", [1e-12, 1e15])
def test_a_direction_has_no_scale_even_in_float32(scale: float) -> None:
    student, teacher = fixed(5).float(), fixed(5, seed=1).float()

    torch.testing.assert_close(cosine_B(scale * student, teacher), cosine_B(student, teacher))


def test_a_zero_has_no_direction_and_a_finite_gradient() -> None:
    student = torch.zeros(2, 5, requires_grad=True)

    values = cosine_B(student, torch.tensor([[1.0] * 5, [0.0] * 5]))
    (gradient,) = torch.autograd.grad(values.sum(), student)

    assert values.tolist() == [1, 1]
    assert gradient.isfinite().all()


@pytest.mark.parametrize("distance", ["cosine", "mse"])
def test_a_linear_projection_carries_the_student_to_the_teachers_size(distance: str) -> None:
    loss, student, teacher = loss_of((3,), (5,), distance=distance), fixed(3), fixed(5, seed=1)
    (projection,) = (module for module in loss.modules() if isinstance(module, nn.Linear))
    distance_B = {"cosine": cosine_B, "mse": mse_B}[distance]

    values = values_B(loss, student, teacher)

    torch.testing.assert_close(values, distance_B(projection(student), teacher))


def test_of_a_map_the_mean_over_the_image_is_compared() -> None:
    loss = loss_of((5, 4, 4), (5,), projection=False, distance="mse")
    student, teacher = fixed(5, 4, 4), fixed(5, seed=1)

    torch.testing.assert_close(
        values_B(loss, student, teacher), mse_B(student.mean(dim=(2, 3)), teacher)
    )


def test_without_a_projection_nothing_is_learned_and_sizes_must_agree() -> None:
    assert list(loss_of((5,), (5,), projection=False).parameters()) == []
    with pytest.raises(BadInput, match=r"'s' has 3 features.*'t' has 5") as caught:
        loss_of((3,), (5,), projection=False)

    assert caught.value.code == "sizes_differ"


def test_what_is_neither_a_vector_nor_a_map_is_refused() -> None:
    with pytest.raises(BadInput, match="expected vectors or image maps"):
        loss_of((3, 4), (5,))
