"""ReviewKD: the context loss by hand, and later layers fused into earlier ones."""

import pytest
import torch

from app.contracts.feature_losses import Review
from app.contracts.loss import LayerPair
from worker.distillation.loss import Setting
from worker.distillation.losses.review import HierarchicalContext, build
from worker.distillation.pooling import NearestResizing
from worker.distillation.signals import Batch, Signals

BATCH = Batch(torch.arange(2), torch.zeros(2, dtype=torch.int64))


def test_the_hierarchical_context_loss_by_hand() -> None:
    """Figure 3b: a 2 x 2 map, then its mean at half the weight, over the sum of the weights."""
    student, teacher = torch.zeros(1, 1, 2, 2), torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])

    value = HierarchicalContext((1, 2, 2), (1, 2, 2))(student, teacher).item()

    map_error, mean_error = (1 + 9 + 25 + 49) / 4, 4.0**2
    assert value == pytest.approx((map_error + mean_error / 2) / 1.5)


def test_resizing_takes_the_nearest_pixel() -> None:
    small = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])

    resized = NearestResizing((2, 2), (4, 4))(small)

    assert torch.equal(resized, torch.nn.functional.interpolate(small, size=(4, 4)))


def test_an_earlier_layer_is_compared_with_later_ones_fused_into_it() -> None:
    shapes = {"early": (2, 4, 4), "late": (3, 2, 2)}
    pairs = [LayerPair(student=name, teacher=name) for name in shapes]
    alone = build(Review(layers=pairs[:1], channels=4), Setting(shapes, shapes))
    fused = build(Review(layers=pairs, channels=4), Setting(shapes, shapes))
    teacher = Signals(torch.zeros(2, 2), {n: torch.rand(2, *s) for n, s in shapes.items()})
    early, late = torch.rand(2, 2, 4, 4), torch.rand(2, 3, 2, 2, requires_grad=True)
    student = Signals(torch.zeros(2, 2), {"early": early, "late": late})

    (untouched,) = torch.autograd.grad(
        alone(student, teacher, BATCH, 0).sum(), late, allow_unused=True
    )
    fused(student, teacher, BATCH, 0).sum().backward()

    assert untouched is None
    assert late.grad is not None
    assert late.grad.abs().min() > 0
