"""Review: the context loss by hand, fusion by the paper's figure, and parity of resizing."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.contracts.feature_losses import Review
from app.contracts.loss import LayerPair
from worker.distillation.errors import BadInput
from worker.distillation.loss import Setting
from worker.distillation.losses import review
from worker.distillation.losses.review import Fusion, HierarchicalContext, ReviewLoss
from worker.distillation.pooling import NearestResizing
from worker.distillation.signals import Batch, Signals

Shape = tuple[int, ...]


def loss_of(students: list[Shape], teachers: list[Shape], channels: int = 4) -> ReviewLoss:
    torch.manual_seed(0)
    names = [f"layer{i}" for i in range(len(students))]
    spec = Review(layers=[LayerPair(student=n, teacher=n) for n in names], channels=channels)
    ours, theirs = (dict(zip(names, shapes, strict=True)) for shapes in (students, teachers))
    loss = review.build(spec, Setting(ours, theirs)).double()
    assert isinstance(loss, ReviewLoss)
    return loss


def values_B(loss: ReviewLoss, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    ours, theirs = (
        Signals(torch.zeros(2, 3), {f"layer{i}": value for i, value in enumerate(features)})
        for features in (student, teacher)
    )
    values: Tensor = loss(ours, theirs, Batch(torch.arange(2), torch.zeros(2)), 0)
    return values


def fixed(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, dtype=torch.float64, generator=generator)


def test_a_context_by_hand() -> None:
    """A 2x2 map of errors 1, -1, 1, 1: its squares' mean is 1, its average's square 1/4.

    The grid of 1 has half the weight: (1 + 1/2 x 1/4) / (1 + 1/2).
    """
    student = torch.tensor([[[[1.0, -1.0], [1.0, 1.0]]]])

    value = HierarchicalContext((1, 2, 2), (1, 2, 2))(student, torch.zeros(1, 1, 2, 2))

    assert value.tolist() == pytest.approx([(1 + 0.5 * 0.25) / 1.5])


@pytest.mark.parametrize(("side", "grids"), [(1, []), (2, [1]), (4, [2, 1]), (7, [4, 2, 1])])
def test_a_context_is_that_of_the_authors_code(side: int, grids: list[int]) -> None:
    """`hcl` in their reviewkd.py: grids below the map's height, halved weights, over their sum."""
    student, teacher = fixed(3, side, side), fixed(3, side, side, seed=1)
    context = HierarchicalContext((3, side, side), (3, side, side)).double()

    expected = (student - teacher).square().mean(dim=(1, 2, 3))
    for halvings, grid in enumerate(grids, start=1):
        pooled = F.adaptive_avg_pool2d(student - teacher, grid)
        expected = expected + pooled.square().mean(dim=(1, 2, 3)) / 2**halvings

    total = sum(1 / 2**halvings for halvings in range(len(grids) + 1))
    torch.testing.assert_close(context(student, teacher), expected / total)


def test_maps_of_two_sizes_are_compared_at_the_smaller_sides() -> None:
    student, teacher = fixed(3, 8, 4), fixed(3, 4, 8, seed=1)
    ours, theirs = F.adaptive_avg_pool2d(student, 4), F.adaptive_avg_pool2d(teacher, 4)

    values = HierarchicalContext((3, 8, 4), (3, 4, 8)).double()(student, teacher)

    same_size = HierarchicalContext((3, 4, 4), (3, 4, 4)).double()
    torch.testing.assert_close(values, same_size(ours, theirs))


def test_fusion_is_that_of_the_papers_figure() -> None:
    """Figure 3a: reduced, joined with the enlarged later features by two maps of attention."""
    torch.manual_seed(0)
    fusion = Fusion((3, 4, 4), (5, 4, 4), 2, (7, 2, 2)).double()
    feature, later = fixed(3, 4, 4), fixed(2, 2, 2, seed=1)
    assert isinstance(fusion.attention, nn.Sequential)

    compared, fused = fusion(feature, later)

    reduced = fusion.reduction(feature)
    enlarged = later.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    shares = torch.sigmoid(fusion.attention[0](torch.cat([reduced, enlarged], dim=1)))
    expected = reduced * shares[:, :1] + enlarged * shares[:, 1:]
    torch.testing.assert_close(fused, expected)
    torch.testing.assert_close(compared, fusion.expansion(expected))
    assert compared.shape == (2, 5, 4, 4)


def test_later_features_of_the_student_reach_earlier_comparisons_and_not_the_reverse() -> None:
    shapes: list[Shape] = [(2, 8, 8), (3, 4, 4), (4, 2, 2)]
    loss = loss_of(shapes, [(3, 8, 8), (4, 4, 4), (5, 2, 2)])
    students = [fixed(*shape, seed=i) for i, shape in enumerate(shapes)]
    fused = None
    depths = []
    for fuse, feature in zip(loss.fusions, reversed(students), strict=True):
        feature.requires_grad_()
        compared, fused = fuse(feature, fused)
        reached = torch.autograd.grad(
            compared.sum(), [each for each in students if each.requires_grad], retain_graph=True
        )
        depths.append(sum(bool(gradient.abs().max() > 0) for gradient in reached))

    assert depths == [1, 2, 3]  # the deepest alone, then with each earlier one


def test_the_pairs_contexts_and_their_gradients_add_up() -> None:
    students: list[Shape] = [(2, 4, 4), (3, 2, 2)]
    teachers: list[Shape] = [(3, 4, 4), (4, 2, 2)]
    loss = loss_of(students, teachers)
    ours = [fixed(*shape, seed=i).requires_grad_() for i, shape in enumerate(students)]
    theirs = [fixed(*shape, seed=i + 2) for i, shape in enumerate(teachers)]

    values = values_B(loss, ours, theirs)

    (deep, shallow), (of_deep, of_shallow) = loss.fusions, loss.contexts
    compared, fused = deep(ours[1], None)
    expected = of_deep(compared, theirs[1]) + of_shallow(shallow(ours[0], fused)[0], theirs[0])
    torch.testing.assert_close(values, expected)
    torch.testing.assert_close(
        torch.autograd.grad(values.sum(), ours), torch.autograd.grad(expected.sum(), ours)
    )


@pytest.mark.parametrize(
    ("before", "after"), [((2, 2), (4, 4)), ((3, 2), (7, 5)), ((5, 4), (2, 8))]
)
def test_resizing_takes_the_nearest_pixel_as_interpolation_does(
    before: tuple[int, int], after: tuple[int, int]
) -> None:
    image = fixed(3, *before)

    resized = NearestResizing(before, after).double()(image)

    assert torch.equal(resized, F.interpolate(image, after, mode="nearest"))


def test_a_teachers_mean_can_be_learned_without_batch_norm() -> None:
    """Of a silent student the fusion can still give any constant: its convolutions have biases."""
    loss = loss_of([(2, 4, 4)], [(3, 4, 4)])
    silent, teacher = torch.zeros(2, 2, 4, 4).double(), torch.full((2, 3, 4, 4), 5.0).double()
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.1)

    for _ in range(200):
        optimizer.zero_grad()
        values_B(loss, [silent], [teacher]).mean().backward()
        optimizer.step()

    assert values_B(loss, [silent], [teacher]).max() < 0.1


def test_vectors_are_refused() -> None:
    with pytest.raises(BadInput, match="expected two image maps"):
        loss_of([(3,)], [(3,)])
