"""An objective sums losses, and knows what they need."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.feature_losses import Flow, FlowPair, Hints, LayerSpan
from app.contracts.loss import LayerPair, WeightSchedule
from app.contracts.objective import AnyLoss
from app.contracts.response_losses import Decoupled, Labels, SoftTargets
from tests.unit.worker.distillation.toys import equal
from worker.distillation.errors import BadInput
from worker.distillation.loss import Setting
from worker.distillation.losses.labels import labels_B
from worker.distillation.losses.soft_targets import soft_targets_B
from worker.distillation.objective import Needs, build_objective, needs, share
from worker.distillation.signals import Batch, Signals

HINTS = Hints(layers=[LayerPair(student="a", teacher="b"), LayerPair(student="c", teacher="b")])
NOTHING = Needs(teacher=False, student_layers=(), teacher_layers=())
FOUR_CLASSES = Setting(num_outputs=4)


def test_what_losses_need_together() -> None:
    span = FlowPair(student=LayerSpan(first="a", last="d"), teacher=LayerSpan(first="b", last="e"))

    assert needs([Labels()]) == NOTHING
    assert needs([Labels(), SoftTargets()]).teacher
    assert needs([HINTS, HINTS]) == Needs(
        teacher=True, student_layers=("a", "c"), teacher_layers=("b",)
    )
    assert needs([HINTS, Flow(spans=[span])]) == Needs(
        teacher=True, student_layers=("a", "c", "d"), teacher_layers=("b", "e")
    )


def test_each_loss_has_its_row_its_name_and_its_weight() -> None:
    specs: list[AnyLoss] = [
        SoftTargets(temperature=2.0),
        Labels(weight=0.25),
        SoftTargets(temperature=3.0),
    ]
    student, teacher = torch.randn(2, 5, 4).unbind()
    labels = torch.arange(5) % 4

    objective = build_objective(specs, FOUR_CLASSES)
    values_KB = objective(Signals(student), Signals(teacher), Batch(torch.arange(5), labels), 0)

    assert objective.names == ["soft_targets", "labels", "soft_targets_2"]
    assert objective.weights(step=7, num_steps=10, steps_per_epoch=2) == [1.0, 0.25, 1.0]
    assert torch.equal(values_KB[0], soft_targets_B(student, teacher, 2.0))
    assert torch.equal(values_KB[1], labels_B(student, labels, 0.0))
    assert torch.equal(values_KB[2], soft_targets_B(student, teacher, 3.0))


def test_the_regressors_start_is_a_function_of_the_seed() -> None:
    shapes = {"a": (2,), "b": (3,), "c": (4,)}
    torch.manual_seed(9)
    expected = torch.rand(2)
    torch.manual_seed(9)
    one, same, other = (
        build_objective([HINTS], Setting(shapes, shapes, num_outputs=4, seed=seed)).state_dict()
        for seed in (0, 0, 1)
    )

    assert equal(one, same)
    assert not equal(one, other)
    assert torch.equal(torch.rand(2), expected)


def test_a_weight_warms_up_in_a_line_and_then_falls() -> None:
    falling = WeightSchedule(warmup_epochs=2, decay="linear", final=0.5)

    shares = [share(falling, step, num_steps=9, steps_per_epoch=2) for step in range(9)]

    assert shares == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5])


def test_half_a_cosine_by_hand() -> None:
    cosine = WeightSchedule(decay="cosine", final=0.2)

    shares = [share(cosine, step, num_steps=5, steps_per_epoch=1) for step in (0, 2, 4)]

    assert shares == pytest.approx([1.0, 0.6, 0.2])


@settings(deadline=None, max_examples=50)
@given(
    st.builds(
        WeightSchedule,
        warmup_epochs=st.floats(0, 20),
        decay=st.sampled_from(["none", "linear", "cosine"]),
        final=st.floats(0, 1),
    ),
    st.integers(1, 30),
)
def test_a_share_stays_between_none_and_all(schedule: WeightSchedule, num_steps: int) -> None:
    shares = [share(schedule, step, num_steps, steps_per_epoch=3) for step in range(num_steps)]

    assert all(0 <= each <= 1 for each in shares)


def test_a_loss_that_cannot_work_with_the_task_is_refused_with_the_reason() -> None:
    with pytest.raises(BadInput, match="predictions are numbers, not a distribution") as caught:
        build_objective([SoftTargets()], Setting(task="regression", num_outputs=1))
    assert "logit_mse" in (caught.value.hint or "")

    with pytest.raises(BadInput, match="at least 3 classes, and the data has 2") as caught:
        build_objective([Decoupled()], Setting(num_outputs=2))
    assert caught.value.code == "too_few_classes"

    with pytest.raises(BadInput, match="not exclusive"):
        build_objective([Decoupled()], Setting(task="multi_label", num_outputs=5))
