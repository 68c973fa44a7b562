"""Factors: the distance by hand, and who learns from which term."""

import pytest
import torch

from app.contracts.feature_losses import Factor
from app.contracts.loss import LayerPair
from worker.distillation.loss import Setting
from worker.distillation.losses.factor import build, factor_B
from worker.distillation.signals import Batch, Signals

BATCH = Batch(torch.arange(2), torch.zeros(2, dtype=torch.int64))


def test_the_distance_by_hand() -> None:
    student, teacher = torch.tensor([[[[3.0, 4.0]]]]), torch.tensor([[[[0.0, 2.0]]]])

    # At length 1 they are (0.6, 0.8) and (0, 1).
    assert factor_B(student, teacher).tolist() == [pytest.approx(0.4)]


def test_the_paraphraser_learns_to_reconstruct_and_nothing_from_the_student() -> None:
    pairs = [LayerPair(student="s", teacher="t")]
    loss = build(Factor(layers=pairs), Setting({"s": (2, 4, 4)}, {"t": (4, 4, 4)}))
    teacher = Signals(torch.zeros(2, 2), {"t": torch.rand(2, 4, 4, 4)})
    gradients = []
    for scale in (1.0, -5.0):
        student = Signals(torch.zeros(2, 2), {"s": scale * torch.rand(2, 2, 4, 4)})
        loss.zero_grad()
        loss(student, teacher, BATCH, 0).sum().backward()
        gradients.append({n: p.grad for n, p in loss.named_parameters() if p.grad is not None})

    one, other = gradients
    for name, gradient in one.items():
        same = torch.equal(gradient, other[name])
        assert same == ("translator" not in name), name
