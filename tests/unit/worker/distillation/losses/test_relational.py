"""Relations: triangles by hand, the paper's formulas, and batches without any relation."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from app.contracts.feature_losses import Relational
from app.contracts.loss import LayerPair
from worker.distillation.loss import Setting
from worker.distillation.losses import relational
from worker.distillation.losses.relational import angle_B, cosines_BBB, distance_B, distances_BB
from worker.distillation.signals import Batch, Signals

TRIANGLE = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
"""Sides of 3, 4 and 5: their mean is 4, and the angle at the first corner is right."""


def fixed(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def values_B(student: Tensor, teacher: Tensor, **weights: float) -> Tensor:
    pairs = [LayerPair(student="s", teacher="t")]
    loss = relational.build(Relational.model_validate({"layers": pairs, **weights}), Setting())
    size = len(student)
    batch, nothing = Batch(torch.arange(size), torch.zeros(size)), torch.zeros(size, 3)
    values: Tensor = loss(
        Signals(nothing, {"s": student}), Signals(nothing, {"t": teacher}), batch, 0
    )
    return values


def huber(x: float, y: float) -> float:
    """The paper's l_delta, with delta 1."""
    gap = abs(x - y)
    return gap**2 / 2 if gap <= 1 else gap - 0.5


def test_distances_by_hand() -> None:
    expected = torch.tensor([[0, 3, 4], [3, 0, 5], [4, 5, 0]]).double() / 4

    torch.testing.assert_close(distances_BB(TRIANGLE), expected)


def test_cosines_by_hand() -> None:
    """At the right angle 0; at the corner (3, 0), between sides of 3 and 5, 3/5; at (0, 4), 4/5."""
    cosines = cosines_BBB(TRIANGLE)

    assert cosines[0, 1, 2].item() == pytest.approx(0)
    assert cosines[1, 0, 2].item() == pytest.approx(3 / 5)
    assert cosines[2, 0, 1].item() == pytest.approx(4 / 5)
    assert cosines[0, 1, 1].item() == pytest.approx(1)
    assert cosines[0, 0, 1].item() == 0


def test_a_loss_of_distances_by_hand() -> None:
    """3, 4, 5 over 4 against equal sides: gaps of 1/4, 0, 1/4, of which half squares, over 3."""
    root = math.sqrt(3)
    equal = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, root]], dtype=torch.float64)

    values = distance_B(TRIANGLE, equal)

    assert values.tolist() == pytest.approx([1 / 32 / 3, 2 / 32 / 3, 1 / 32 / 3])


def test_the_mean_over_the_batch_is_the_published_loss_of_distances() -> None:
    """Section 3.2.1, averaged as in the authors' code over all pairs, one with itself too."""
    student, teacher = fixed(5, 3), fixed(5, 2, 2, 2, seed=1)
    teacher[0] *= 40  # one gap beyond 1, where the Huber loss is a line

    def potentials(rows: list[list[float]]) -> dict[tuple[int, int], float]:
        lengths = {(i, j): math.dist(rows[i], rows[j]) for i in range(5) for j in range(5)}
        mean = sum(lengths.values()) / (5 * 4)
        return {pair: length / mean for pair, length in lengths.items()}

    ours, theirs = potentials(student.tolist()), potentials(teacher.flatten(1).tolist())
    expected = sum(huber(ours[pair], theirs[pair]) for pair in ours) / 5**2

    assert distance_B(student, teacher).mean().item() == pytest.approx(expected)
    assert max(abs(ours[pair] - theirs[pair]) for pair in ours) > 1


def test_the_mean_over_the_batch_is_the_published_loss_of_angles() -> None:
    """Section 3.2.2, averaged over all triplets as in the authors' code."""
    student, teacher = fixed(5, 3), fixed(5, 2, 2, 2, seed=1)

    def cosine(rows: list[list[float]], i: int, j: int, k: int) -> float:
        """Of the angle at j, between the directions to i and to k."""
        if j in (i, k):
            return 0.0
        one, other = (
            [(a - b) / math.dist(rows[x], rows[j]) for a, b in zip(rows[x], rows[j], strict=True)]
            for x in (i, k)
        )
        return sum(a * b for a, b in zip(one, other, strict=True))

    ours, theirs = student.tolist(), teacher.flatten(1).tolist()
    triplets = list(itertools.product(range(5), repeat=3))
    expected = sum(huber(cosine(ours, *each), cosine(theirs, *each)) for each in triplets) / 5**3

    assert angle_B(student, teacher).mean().item() == pytest.approx(expected)


@pytest.mark.parametrize(("distance", "angle"), [(25.0, 50.0), (2.0, 0.0), (0.0, 3.0)])
def test_the_two_losses_add_up_with_their_weights(distance: float, angle: float) -> None:
    student, teacher = fixed(5, 3), fixed(5, 2, seed=1)

    values = values_B(student, teacher, distance_weight=distance, angle_weight=angle)

    expected = distance * distance_B(student, teacher) + angle * angle_B(student, teacher)
    torch.testing.assert_close(values, expected)


def test_neither_scale_nor_place_nor_turn_of_all_matters() -> None:
    student, teacher = fixed(5, 3), fixed(5, 4, seed=1)
    turn, _ = torch.linalg.qr(fixed(3, 3, seed=2))

    torch.testing.assert_close(
        values_B(7 * student @ turn + 3, teacher), values_B(student, teacher)
    )


@pytest.mark.parametrize("scale", [1e-12, 1e15])
def test_large_and_small_features_stay_within_float32(scale: float) -> None:
    student, teacher = fixed(5, 3).float(), fixed(5, 2, seed=1).float()

    torch.testing.assert_close(
        values_B(scale * student, scale * teacher), values_B(student, teacher)
    )


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("value", [0.0, 1.5])
def test_examples_that_coincide_are_finite_with_a_finite_gradient(size: int, value: float) -> None:
    student = torch.full((size, 3), value, requires_grad=True)

    values = values_B(student, fixed(size, 2).float())
    (gradient,) = torch.autograd.grad(values.sum(), student)

    assert values.isfinite().all()
    assert gradient.isfinite().all()


def test_two_of_several_that_coincide_have_a_finite_gradient() -> None:
    student = fixed(5, 3).float()
    student[3] = student[1]
    student.requires_grad_()

    (gradient,) = torch.autograd.grad(values_B(student, fixed(5, 2).float()).sum(), student)

    assert gradient.isfinite().all()
