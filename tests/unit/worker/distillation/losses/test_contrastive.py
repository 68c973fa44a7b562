"""Contrast: the critic by hand and by its formula, its negatives, and its memory."""

import math

import pytest
import torch
from torch import Tensor

from app.contracts.dataset import Task
from app.contracts.feature_losses import Contrastive
from app.contracts.loss import LayerPair
from worker.distillation.errors import BadInput
from worker.distillation.features import unit_length
from worker.distillation.loss import Setting
from worker.distillation.losses import contrastive
from worker.distillation.losses.contrastive import (
    ContrastiveLoss,
    Negatives,
    PairContrast,
    noise_contrast_B,
)
from worker.distillation.signals import Batch, Signals

TRAIN_IDS = torch.tensor([1, 2, 4, 5, 6, 9, 10, 11])
LABELS = torch.tensor([0, 0, 1, 0, 2, 1, 0, 0, 0, 2, 1, 0])
"""Of all twelve ids; those trained on are of classes 0, 1, 2, 1, 0, 2, 1, 0."""


def setting_of(task: Task = "classification", seed: int = 0) -> Setting:
    return Setting(
        {"s": (3,)}, {"t": (5,)}, task, 3, train_ids_M=TRAIN_IDS, labels=LABELS, seed=seed
    )


def loss_of(setting: Setting | None = None, **settings: object) -> ContrastiveLoss:
    torch.manual_seed(0)
    pairs = [LayerPair(student="s", teacher="t")]
    spec = Contrastive.model_validate({"layers": pairs, "features": 4, "negatives": 6, **settings})
    loss = contrastive.build(spec, setting or setting_of())
    assert isinstance(loss, ContrastiveLoss)
    return loss.double()


def signals(seed: int = 0, num: int = 8) -> tuple[Signals, Signals]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (
        torch.randn(num, size, dtype=torch.float64, generator=generator) for size in (3, 5)
    )
    return Signals(torch.zeros(num, 3), {"s": student}), Signals(
        torch.zeros(num, 3), {"t": teacher}
    )


def batch_of(ids_B: Tensor = TRAIN_IDS) -> Batch:
    return Batch(ids_B, LABELS[ids_B])


def contrast_of(loss: ContrastiveLoss) -> PairContrast:
    (contrast,) = loss.contrasts
    assert isinstance(contrast, PairContrast)
    return contrast


def memories(loss: ContrastiveLoss) -> list[Tensor]:
    contrast = contrast_of(loss)
    return [contrast.student_memory_MF.clone(), contrast.teacher_memory_MF.clone()]


def embedded(loss: ContrastiveLoss, student: Signals, teacher: Signals) -> tuple[Tensor, Tensor]:
    contrast = contrast_of(loss)
    return (
        unit_length(contrast.student_embedding(student.features["s"])).detach(),
        unit_length(contrast.teacher_embedding(teacher.features["t"])).detach(),
    )


def test_a_critic_by_hand() -> None:
    """Scores of 0 with a mean of 1 and 2 negatives: h is 1/3 for each, so ln 3 + 2 ln(3/2)."""
    value = noise_contrast_B(torch.zeros(1, 2), torch.zeros(1), torch.zeros(()))

    assert value.tolist() == pytest.approx([math.log(3) + 2 * math.log(3 / 2)])


def test_scores_far_beyond_what_exp_holds_stay_finite() -> None:
    values = noise_contrast_B(torch.tensor([[1e4]]), torch.tensor([-1e4]), torch.zeros(()))

    assert values.tolist() == [2e4]


def test_its_value_is_the_published_loss_both_ways() -> None:
    """h = e^(g_T g_S / t) / (e^(g_T g_S / t) + K/M) after dividing e^... by Z = M x its mean.

    As RepDistiller's `crd/criterion.py` and `crd/memory.py`, less the 1e-7 they add to divisors.
    """
    temperature, loss = 0.5, loss_of(temperature=0.5)
    student, teacher = signals()
    rows_of_students, rows_of_teachers = (memory.tolist() for memory in memories(loss))
    anchors = [each.tolist() for each in embedded(loss, student, teacher)]
    negatives = loss.negatives(TRAIN_IDS, 3).tolist()

    values = loss(student, teacher, batch_of(), 3)

    def exponential(a: list[float], b: list[float]) -> float:
        return math.exp(sum(x * y for x, y in zip(a, b, strict=True)) / temperature)

    first = [exponential(a, b) for a in rows_of_students for b in rows_of_teachers]
    normaliser = 8 * sum(first) / len(first)
    expected = []
    for i in range(8):
        total = 0.0
        for given, memory in (
            (anchors[0][i], rows_of_teachers),
            (anchors[1][i], rows_of_students),
        ):
            own = exponential(given, memory[i]) / normaliser
            total -= math.log(own / (own + 6 / 8))
            for row in negatives[i]:
                other = exponential(given, memory[row]) / normaliser
                total -= math.log((6 / 8) / (other + 6 / 8))
        expected.append(total)
    assert values.tolist() == pytest.approx(expected)


def test_its_mean_is_that_of_a_random_memory() -> None:
    """Of unit vectors in F dimensions the product's variance is 1/F: e^(1 / (2 F t^2)), nearly."""
    labels = torch.arange(2000) % 10
    setting = Setting({"s": (3,)}, {"t": (5,)}, train_ids_M=torch.arange(2000), labels=labels)

    contrast = contrast_of(loss_of(setting, features=128, temperature=0.2))

    assert contrast.student_log_mean.item() == pytest.approx(1 / (2 * 128 * 0.2**2), rel=0.05)
    assert contrast.student_log_mean == contrast.teacher_log_mean


def test_negatives_are_of_every_other_class_and_never_of_the_own() -> None:
    chosen = Negatives(setting_of(), 500)(TRAIN_IDS, 0)

    classes_M = LABELS[TRAIN_IDS]
    for row, of_row in enumerate(chosen):
        others = {i for i in range(8) if classes_M[i] != classes_M[row]}
        assert set(of_row.tolist()) == others


@pytest.mark.parametrize("task", ["regression", "multi_label"])
def test_without_classes_negatives_are_all_the_other_examples(task: Task) -> None:
    chosen = Negatives(setting_of(task), 500)(TRAIN_IDS, 0)

    for row, of_row in enumerate(chosen):
        assert set(of_row.tolist()) == set(range(8)) - {row}


def test_every_negative_is_as_likely() -> None:
    chosen = Negatives(setting_of(), 5000)(TRAIN_IDS[:1], 0)

    counts = chosen.unique(return_counts=True)[1].double()
    expected = 5000 / 5  # of the eight, three are of its class
    assert ((counts - expected) ** 2 / expected).sum() < 18.5  # 4 degrees of freedom, 1 in 1000


def test_negatives_are_drawn_by_seed_step_and_example_and_not_by_the_batch() -> None:
    negatives = Negatives(setting_of(), 20)
    whole = negatives(TRAIN_IDS, 4)

    one_by_one = torch.cat([negatives(TRAIN_IDS[i : i + 1], 4) for i in range(8)])

    assert torch.equal(one_by_one, whole)
    assert not torch.equal(negatives(TRAIN_IDS, 5), whole)
    assert not torch.equal(Negatives(setting_of(seed=1), 20)(TRAIN_IDS, 4), whole)
    assert len({tuple(row) for row in whole.tolist()}) == 8


def test_memory_moves_by_its_momentum_and_only_when_a_step_is_finished() -> None:
    loss = loss_of(momentum=0.25)
    before, (student, teacher) = memories(loss), signals(num=2)
    given = embedded(loss, student, teacher)

    loss(student, teacher, batch_of(TRAIN_IDS[[6, 1]]), 0)
    unfinished = memories(loss)
    loss.finish_step()

    for old, still, now, new in zip(before, unfinished, memories(loss), given, strict=True):
        assert torch.equal(still, old)
        mixed = 0.25 * old[[6, 1]] + 0.75 * new
        torch.testing.assert_close(now[[6, 1]], mixed / mixed.norm(dim=1, keepdim=True))
        untouched = [0, 2, 3, 4, 5, 7]
        assert torch.equal(now[untouched], old[untouched])


def test_a_step_without_a_batch_moves_nothing_again() -> None:
    loss = loss_of()
    loss(*signals(), batch_of(), 0)
    loss.finish_step()
    once = memories(loss)

    loss.finish_step()

    assert all(torch.equal(a, b) for a, b in zip(memories(loss), once, strict=True))


def test_a_step_cut_into_micro_batches_is_worth_and_remembers_the_same() -> None:
    whole, cut = loss_of(), loss_of()
    student, teacher = signals()
    values = whole(student, teacher, batch_of(), 0)
    whole.finish_step()

    parts = []
    for part in (slice(0, 3), slice(3, 8)):
        ours = Signals(student.logits_BC[part], {"s": student.features["s"][part]})
        theirs = Signals(teacher.logits_BC[part], {"t": teacher.features["t"][part]})
        parts.append(cut(ours, theirs, batch_of(TRAIN_IDS[part]), 0))
    cut.finish_step()

    torch.testing.assert_close(torch.cat(parts), values)
    torch.testing.assert_close(memories(cut), memories(whole))


def test_it_resumes_from_its_state_even_when_built_with_another_chance() -> None:
    whole = loss_of()
    whole(*signals(), batch_of(), 0)
    whole.finish_step()
    torch.manual_seed(9)
    spec = Contrastive(layers=whole.pairs, features=4, negatives=6)
    resumed = contrastive.build(spec, setting_of()).double()

    resumed.load_state_dict(whole.state_dict())

    after = signals(seed=1)
    assert torch.equal(resumed(*after, batch_of(), 1), whole(*after, batch_of(), 1))


def test_a_few_steps_lower_it() -> None:
    loss = loss_of(temperature=0.2)
    student, teacher = signals()
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.05)
    means = []
    for step in range(60):
        values = loss(student, teacher, batch_of(), step)
        optimizer.zero_grad()
        values.mean().backward()
        optimizer.step()
        loss.finish_step()
        means.append(values.mean().item())

    assert sum(means[-10:]) < 0.8 * sum(means[:10])


def test_both_embeddings_learn() -> None:
    loss = loss_of()

    loss(*signals(), batch_of(), 0).sum().backward()

    assert all(each.grad is not None and each.grad.abs().max() > 0 for each in loss.parameters())


def test_a_memory_beyond_its_bound_is_refused_before_it_is_made() -> None:
    setting = Setting(
        {"s": (3,)}, {"t": (5,)},
        train_ids_M=torch.arange(1_000_000), labels=torch.arange(1_000_000) % 2,
    )  # fmt: skip

    with pytest.raises(BadInput, match="would take 32,768,000,000 bytes") as caught:
        loss_of(setting, features=4096)

    assert caught.value.code == "memory_too_large"


@pytest.mark.parametrize(
    ("task", "ids"), [("classification", [0, 1, 3]), ("regression", [0]), ("classification", [])]
)
def test_nothing_to_contrast_with_is_refused(task: Task, ids: list[int]) -> None:
    chosen = torch.tensor(ids, dtype=torch.int64)
    setting = Setting({"s": (3,)}, {"t": (5,)}, task, train_ids_M=chosen, labels=LABELS)

    with pytest.raises(BadInput) as caught:
        loss_of(setting)

    assert caught.value.code == "nothing_to_contrast"
