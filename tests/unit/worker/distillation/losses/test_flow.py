"""FSP: the matrix by hand, the larger map averaged, and channels that must agree."""

import pytest
import torch

from app.contracts.feature_losses import Flow, FlowPair, LayerSpan
from worker.distillation.errors import BadInput
from worker.distillation.loss import Setting
from worker.distillation.losses.flow import build, flow_B, flow_matrix_BDE
from worker.distillation.signals import Batch, Signals

SPAN = LayerSpan(first="a", last="b")
SPEC = Flow(spans=[FlowPair(student=SPAN, teacher=SPAN)])
BATCH = Batch(torch.arange(2), torch.zeros(2, dtype=torch.int64))


def test_the_matrix_and_the_distance_by_hand() -> None:
    first = torch.tensor([[[[1.0, 2.0]]]])
    last = torch.tensor([[[[3.0, 4.0]], [[0.0, 2.0]]]])

    matrix = flow_matrix_BDE(first, last)

    assert matrix.tolist() == [[[5.5, 2.0]]]
    assert flow_B(matrix, torch.zeros(1, 1, 2)).tolist() == [(5.5**2 + 4) / 2]


def test_the_larger_map_of_a_span_is_averaged_to_the_smaller() -> None:
    shapes = {"a": (2, 4, 4), "b": (3, 2, 2)}
    features = {name: torch.rand(2, *shape) for name, shape in shapes.items()}
    nothing = {name: torch.zeros(2, *shape) for name, shape in shapes.items()}

    values = build(SPEC, Setting(shapes, shapes))(
        Signals(torch.zeros(2, 2), features), Signals(torch.zeros(2, 2), nothing), BATCH, 0
    )

    pooled = torch.nn.functional.avg_pool2d(features["a"], 2)
    expected = torch.einsum("bdhw,behw->bde", pooled, features["b"]) / 4
    torch.testing.assert_close(values, expected.square().mean(dim=(1, 2)))


def test_channels_must_agree() -> None:
    setting = Setting({"a": (2, 4, 4), "b": (3, 2, 2)}, {"a": (2, 4, 4), "b": (4, 2, 2)})
    with pytest.raises(BadInput, match="'b' has 3 channels and teacher layer 'b' has 4") as caught:
        build(SPEC, setting)

    assert caught.value.code == "channels_differ"
