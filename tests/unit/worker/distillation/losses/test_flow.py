"""Flow: a matrix and a distance by hand, the formula of the paper, and spans that do not fit."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from app.contracts.feature_losses import Flow, FlowPair, LayerSpan
from worker.distillation.errors import BadInput
from worker.distillation.loss import Loss, Setting
from worker.distillation.losses import flow
from worker.distillation.losses.flow import flow_B, flow_matrix_BDE
from worker.distillation.signals import Batch, Signals

Shape = tuple[int, ...]
SPAN = LayerSpan(first="first", last="last")
PAIR = FlowPair(student=SPAN, teacher=SPAN)


def loss_of(student: tuple[Shape, Shape], teacher: tuple[Shape, Shape], spans: int = 1) -> Loss:
    ours, theirs = (dict(zip(("first", "last"), each, strict=True)) for each in (student, teacher))
    return flow.build(Flow(spans=[PAIR] * spans), Setting(ours, theirs)).double()


def values_B(loss: Loss, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    ours, theirs = (
        Signals(torch.zeros(2, 3), dict(zip(("first", "last"), each, strict=True)))
        for each in (student, teacher)
    )
    values: Tensor = loss(ours, theirs, Batch(torch.arange(2), torch.zeros(2)), 0)
    return values


def fixed(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, dtype=torch.float64, generator=generator)


def test_a_matrix_by_hand() -> None:
    """Two channels and one over two pixels: (1 x 5 + 2 x 6) / 2 and (3 x 5 + 4 x 6) / 2."""
    first = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    last = torch.tensor([[[[5.0, 6.0]]]])

    assert flow_matrix_BDE(first, last).tolist() == [[[8.5], [19.5]]]


def test_a_distance_by_hand() -> None:
    """Differences of 1 and 3 over a matrix of two: (1 + 9) / 2."""
    assert flow_B(torch.tensor([[[8.0], [1.0]]]), torch.tensor([[[9.0], [4.0]]])).tolist() == [5.0]


def test_is_the_papers_formula_over_the_number_of_entries() -> None:
    """Section 3.2: G_ij = sum over h and w of F1_hwi F2_hwj / (h w); |G_T - G_S|^2 over 3 x 2."""
    student, teacher = ([fixed(3, 4, 5, seed=i), fixed(2, 4, 5, seed=i + 1)] for i in (0, 2))

    def entry(maps: list[Tensor], example: int, i: int, j: int) -> float:
        first, last = maps[0][example, i], maps[1][example, j]
        return sum(float(first[h, w] * last[h, w]) for h in range(4) for w in range(5)) / 20

    entries = list(itertools.product(range(3), range(2)))
    expected = [
        sum((entry(student, b, i, j) - entry(teacher, b, i, j)) ** 2 for i, j in entries) / 6
        for b in range(2)
    ]
    values = values_B(loss_of(((3, 4, 5), (2, 4, 5)), ((3, 4, 5), (2, 4, 5))), student, teacher)

    assert values.tolist() == pytest.approx(expected)


def test_the_larger_map_of_a_span_is_averaged_to_the_smaller_on_each_side_alone() -> None:
    shapes = ((3, 8, 8), (2, 4, 4)), ((3, 2, 6), (2, 6, 6))
    student, teacher = ([fixed(*first), fixed(*last, seed=1)] for first, last in shapes)

    values = values_B(loss_of(*shapes), student, teacher)

    ours = flow_matrix_BDE(F.avg_pool2d(student[0], 2), student[1])
    theirs = flow_matrix_BDE(teacher[0], F.adaptive_avg_pool2d(teacher[1], (2, 6)))
    torch.testing.assert_close(values, flow_B(ours, theirs))


def test_spans_add_up() -> None:
    shapes = (3, 4, 4), (2, 2, 2)
    student, teacher = ([fixed(*shapes[0], seed=i), fixed(*shapes[1], seed=i + 1)] for i in (0, 2))

    once = values_B(loss_of(shapes, shapes), student, teacher)
    twice = values_B(loss_of(shapes, shapes, spans=2), student, teacher)

    torch.testing.assert_close(twice, 2 * once)


def test_channels_that_differ_are_refused_by_the_layers_names() -> None:
    with pytest.raises(
        BadInput, match=r"student layer 'last' has 2 channels.*'last' has 5"
    ) as caught:
        loss_of(((3, 4, 4), (2, 4, 4)), ((3, 4, 4), (5, 4, 4)))

    assert caught.value.code == "channels_differ"


def test_vectors_are_refused() -> None:
    with pytest.raises(BadInput, match="expected two image maps"):
        loss_of(((3, 4, 4), (2,)), ((3, 4, 4), (2,)))
