"""An objective sums losses, and knows what they need."""

import torch

from app.contracts.objective import AnyLoss, Hints, Labels, LayerPair, SoftTargets
from tests.unit.worker.distillation.toys import equal
from worker.distillation.loss import Needs
from worker.distillation.losses.labels import labels_B
from worker.distillation.losses.soft_targets import soft_targets_B
from worker.distillation.objective import build_objective, needs
from worker.distillation.signals import Batch, Signals

HINTS = Hints(layers=[LayerPair(student="a", teacher="b"), LayerPair(student="c", teacher="b")])


def test_what_losses_need_together() -> None:
    assert needs([Labels()]) == Needs()
    assert needs([Labels(), SoftTargets()]) == Needs(teacher=True)
    assert needs([HINTS, HINTS]) == Needs(
        teacher=True, student_layers=("a", "c"), teacher_layers=("b",)
    )


def test_each_loss_has_its_row_and_its_name() -> None:
    specs: list[AnyLoss] = [
        SoftTargets(temperature=2.0),
        Labels(weight=0.25),
        SoftTargets(temperature=3.0),
    ]
    student, teacher = torch.randn(2, 5, 4).unbind()
    labels = torch.arange(5) % 4

    objective = build_objective(specs, {}, {}, seed=0)
    values_KB = objective(Signals(student), Signals(teacher), Batch(torch.arange(5), labels), 0)

    assert objective.names == ["soft_targets", "labels", "soft_targets_2"]
    assert objective.weights_K.tolist() == objective.weights == [1.0, 0.25, 1.0]
    assert torch.equal(values_KB[0], soft_targets_B(student, teacher, 2.0))
    assert torch.equal(values_KB[1], labels_B(student, labels, 0.0))
    assert torch.equal(values_KB[2], soft_targets_B(student, teacher, 3.0))


def test_the_regressors_start_is_a_function_of_the_seed() -> None:
    shapes = {"a": (2,), "b": (3,), "c": (4,)}
    torch.manual_seed(9)
    expected = torch.rand(2)
    torch.manual_seed(9)
    one, same, other = (
        build_objective([HINTS], shapes, shapes, seed).state_dict() for seed in (0, 0, 1)
    )

    assert equal(one, same)
    assert not equal(one, other)
    assert torch.equal(torch.rand(2), expected)
