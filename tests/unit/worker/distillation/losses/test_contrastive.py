"""CRD: the critic by hand, negatives of other classes, and a memory that moves after steps."""

import math

import pytest
import torch

from app.contracts.feature_losses import Contrastive
from app.contracts.loss import LayerPair
from worker.distillation.errors import BadInput
from worker.distillation.loss import Setting
from worker.distillation.losses.contrastive import (
    ContrastiveLoss,
    Negatives,
    PairContrast,
    build,
    noise_contrast_B,
)
from worker.distillation.signals import Batch, Signals

LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])
TRAIN = torch.tensor([0, 1, 2, 4, 5, 6])
SETTING = Setting({"s": (3,)}, {"t": (5,)}, num_outputs=3, train_ids_M=TRAIN, labels=LABELS, seed=1)
SPEC = Contrastive(layers=[LayerPair(student="s", teacher="t")], features=4, negatives=50)


def test_the_critic_by_hand() -> None:
    """Equation 10 with h = e^s / (e^s + K m): here K = 2, m = 1."""
    positive, negatives = math.log(6.0), [math.log(2.0), 0.0]

    value = noise_contrast_B(torch.tensor([negatives]), torch.tensor([positive]), torch.tensor(0.0))

    expected = -math.log(6 / 8) - math.log(2 / 4) - math.log(2 / 3)
    assert value.tolist() == [pytest.approx(expected)]


@pytest.mark.parametrize("step", [0, 9])
def test_negatives_are_train_examples_of_other_classes(step: int) -> None:
    rows = Negatives(SETTING, 200)(TRAIN, step)

    drawn = LABELS[TRAIN[rows]]
    assert (drawn != LABELS[TRAIN][:, None]).all()
    for label in (0, 1, 2):
        others = set(drawn[LABELS[TRAIN] == label].flatten().tolist())
        assert others == {0, 1, 2} - {label}


def test_negatives_depend_on_step_and_example_and_not_on_the_batch() -> None:
    draw = Negatives(SETTING, 30)

    assert torch.equal(draw(TRAIN, 4)[2:4], draw(TRAIN[2:4], 4))
    assert not torch.equal(draw(TRAIN, 4), draw(TRAIN, 5))


def test_the_memory_of_what_was_seen_moves_only_when_the_step_is_finished() -> None:
    loss = build(SPEC, SETTING)
    assert isinstance(loss, ContrastiveLoss)
    (contrast,) = loss.contrasts
    assert isinstance(contrast, PairContrast)
    before = contrast.teacher_memory_MF.clone()
    student = Signals(torch.zeros(2, 3), {"s": torch.rand(2, 3)})
    teacher = Signals(torch.zeros(2, 3), {"t": torch.rand(2, 5)})
    ids = torch.tensor([1, 6])

    loss(student, teacher, Batch(ids, LABELS[ids]), 0)
    assert torch.equal(contrast.teacher_memory_MF, before)
    loss.finish_step()

    moved = (contrast.teacher_memory_MF != before).any(dim=1)
    assert TRAIN[moved].tolist() == [1, 6]
    lengths = contrast.teacher_memory_MF.norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(len(TRAIN)))


def test_a_few_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    loss = build(SPEC, SETTING)
    features = torch.randn(len(TRAIN), 3)
    student = Signals(torch.zeros(len(TRAIN), 3), {"s": features})
    teacher = Signals(torch.zeros(len(TRAIN), 3), {"t": torch.cat([features, features[:, :2]], 1)})
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.02)
    values = []
    for step in range(40):
        value = loss(student, teacher, Batch(TRAIN, LABELS[TRAIN]), step).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        loss.finish_step()
        values.append(value.item())

    assert sum(values[-5:]) < 0.7 * sum(values[:5])


def test_one_class_has_nothing_to_contrast_with() -> None:
    setting = Setting({"s": (3,)}, {"t": (5,)}, train_ids_M=TRAIN, labels=torch.zeros(8).long())
    with pytest.raises(BadInput, match="two classes at least"):
        build(SPEC, setting)


def test_a_memory_too_large_is_refused_with_its_size() -> None:
    setting = Setting(
        {"s": (3,)},
        {"t": (5,)},
        train_ids_M=torch.arange(300_000),
        labels=torch.arange(300_000) % 2,
    )
    spec = SPEC.model_copy(update={"features": 4096})
    with pytest.raises(BadInput, match="would take 9,830,400,000 bytes"):
        build(spec, setting)
