"""Embeddings: the distances by hand, projections that fit, and sizes that must agree."""

import pytest
import torch
from torch import nn

from app.contracts.feature_losses import Embedding
from app.contracts.loss import LayerPair
from worker.distillation.errors import BadInput
from worker.distillation.loss import Setting
from worker.distillation.losses.embedding import build, cosine_B, mse_B
from worker.distillation.signals import Batch, Signals

PAIR = [LayerPair(student="s", teacher="t")]
BATCH = Batch(torch.arange(2), torch.zeros(2, dtype=torch.int64))


def test_the_distances_by_hand() -> None:
    student, teacher = torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[4.0, 3.0], [1.0, 0]])

    assert cosine_B(student, teacher).tolist() == pytest.approx([1 - 24 / 25, 1.0])
    assert mse_B(student, teacher).tolist() == pytest.approx([1.0, 0.5])


def test_a_projection_carries_the_student_to_the_teacher_s_size() -> None:
    loss = build(Embedding(layers=PAIR, distance="mse"), Setting({"s": (3,)}, {"t": (2, 4, 4)}))
    (projection,) = (module for module in loss.modules() if isinstance(module, nn.Linear))
    ours, theirs = torch.rand(2, 3), torch.rand(2, 2, 4, 4)

    values = loss(
        Signals(torch.zeros(2, 2), {"s": ours}), Signals(torch.zeros(2, 2), {"t": theirs}), BATCH, 0
    )

    torch.testing.assert_close(values, mse_B(projection(ours), theirs.mean(dim=(2, 3))))


def test_without_a_projection_sizes_must_agree() -> None:
    spec = Embedding(layers=PAIR, projection=False)
    with pytest.raises(BadInput, match="has 3 features and teacher layer 't' has 5") as caught:
        build(spec, Setting({"s": (3,)}, {"t": (5,)}))

    assert caught.value.code == "sizes_differ"
    assert list(build(spec, Setting({"s": (5,)}, {"t": (5,)})).parameters()) == []
