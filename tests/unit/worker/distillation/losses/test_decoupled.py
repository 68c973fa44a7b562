"""DKD: numbers by hand, the published formula, and the gaps at which its reference overflows."""

import math

import pytest
import torch
from torch import Tensor

from app.contracts.response_losses import Decoupled
from tests.unit.worker.distillation.losses.every_loss import drawn
from worker.distillation.errors import BadInput
from worker.distillation.loss import Setting
from worker.distillation.losses.decoupled import decoupled_B
from worker.distillation.losses.soft_targets import soft_targets_B
from worker.distillation.objective import build_objective

FIRST = torch.tensor([0])
GAPS = [120.0, 1e4, 1e8]

# Teacher (1/2, 1/3, 1/6), student (1/3, 1/3, 1/3), the first class is right.
TEACHER, STUDENT = torch.tensor([[math.log(3.0), math.log(2.0), 0.0]]), torch.zeros(1, 3)
TARGET = 0.5 * math.log(0.5 * 3) + 0.5 * math.log(0.5 * 3 / 2)
OTHERS = 2 / 3 * math.log(2 / 3 * 2) + 1 / 3 * math.log(1 / 3 * 2)


@pytest.mark.parametrize(("target_weight", "other_weight"), [(1.0, 0.0), (0.0, 1.0), (2.0, 8.0)])
def test_by_hand(target_weight: float, other_weight: float) -> None:
    value = decoupled_B(STUDENT, TEACHER, FIRST, 1.0, target_weight, other_weight).item()

    assert value == pytest.approx(target_weight * TARGET + other_weight * OTHERS)


@pytest.mark.parametrize(("target_weight", "other_weight"), [(1.0, 0.0), (0.0, 1.0), (2.0, 8.0)])
def test_the_square_of_the_temperature_stays_at_any_weight(
    target_weight: float, other_weight: float
) -> None:
    value = decoupled_B(2 * STUDENT, 2 * TEACHER, FIRST, 2.0, target_weight, other_weight).item()

    assert value == pytest.approx(4 * (target_weight * TARGET + other_weight * OTHERS))


def test_is_the_published_formula() -> None:
    """Equation 7, from probabilities: binary ones b of the target, and those of the rest, p-hat."""
    student, teacher, batch = drawn(0)
    right = torch.nn.functional.one_hot(batch.labels, 4).bool()

    def parts(logits_BC: Tensor) -> tuple[Tensor, Tensor]:
        p = (logits_BC / 3).softmax(dim=1)
        binary = torch.stack([p[right], 1 - p[right]], dim=1)
        return binary, p[~right].reshape(-1, 3) / (1 - p[right])[:, None]

    def divergence(p: Tensor, q: Tensor) -> Tensor:
        return (p * (p / q).log()).sum(dim=1)

    (student_b, student_hat), (teacher_b, teacher_hat) = (
        parts(student.logits_BC),
        parts(teacher.logits_BC),
    )
    expected = 9 * (2 * divergence(teacher_b, student_b) + 8 * divergence(teacher_hat, student_hat))

    values = decoupled_B(student.logits_BC, teacher.logits_BC, batch.labels, 3.0, 2.0, 8.0)

    torch.testing.assert_close(values, expected)


def test_with_the_teachers_doubt_as_weight_of_the_others_it_is_soft_targets() -> None:
    """Equation 6: KD = TCKD + (1 - p of the target) NCKD."""
    student, teacher, batch = drawn(1)
    certainty_B = (teacher.logits_BC / 4).softmax(dim=1)[torch.arange(6), batch.labels]
    target_B = decoupled_B(student.logits_BC, teacher.logits_BC, batch.labels, 4.0, 1.0, 0.0)
    other_B = decoupled_B(student.logits_BC, teacher.logits_BC, batch.labels, 4.0, 0.0, 1.0)

    torch.testing.assert_close(
        target_B + (1 - certainty_B) * other_B,
        soft_targets_B(student.logits_BC, teacher.logits_BC, 4.0),
    )


@pytest.mark.parametrize("gap", GAPS)
def test_a_student_that_is_sure_of_the_target_by_hand(gap: float) -> None:
    """Teacher (1/3, 1/3, 1/3): 1/3 log 1/3 + 2/3 (log 2/3 - (log 2 - gap)) = 2/3 gap - log 3."""
    student = torch.tensor([[gap, 0.0, 0.0]], requires_grad=True)

    value = decoupled_B(student, torch.zeros(1, 3), FIRST, 1.0, 1.0, 8.0)
    (gradient,) = torch.autograd.grad(value.sum(), student)

    assert value.item() == pytest.approx(2 / 3 * gap - math.log(3), rel=1e-5)
    assert gradient[0].tolist() == pytest.approx([2 / 3, -1 / 3, -1 / 3], rel=1e-5)


@pytest.mark.parametrize("gap", GAPS)
def test_a_student_that_rules_the_target_out_by_hand(gap: float) -> None:
    """Teacher (1/3, 1/3, 1/3): 1/3 (log 1/3 + log 2 + gap) + 2/3 log 2/3 = gap / 3 + log 2/3."""
    student = torch.tensor([[-gap, 0.0, 0.0]], requires_grad=True)

    value = decoupled_B(student, torch.zeros(1, 3), FIRST, 1.0, 1.0, 8.0)
    (gradient,) = torch.autograd.grad(value.sum(), student)

    assert value.item() == pytest.approx(gap / 3 + math.log(2 / 3), rel=1e-5)
    assert gradient[0].tolist() == pytest.approx([-1 / 3, 1 / 6, 1 / 6], rel=1e-5)


@pytest.mark.parametrize("gap", GAPS)
def test_the_others_do_not_see_how_sure_the_target_is(gap: float) -> None:
    teacher = torch.tensor([[gap, math.log(2.0), 0.0]])
    student = torch.tensor([[gap, 0.0, 0.0]], requires_grad=True)

    value = decoupled_B(student, teacher, FIRST, 1.0, 0.0, 1.0)
    (gradient,) = torch.autograd.grad(value.sum(), student)

    assert value.item() == pytest.approx(OTHERS)
    assert gradient[0].tolist() == pytest.approx([0.0, 1 / 2 - 2 / 3, 1 / 2 - 1 / 3])


def test_of_two_classes_the_second_term_is_always_zero() -> None:
    student, teacher = torch.tensor([[1.0, -2.0]]), torch.tensor([[-3.0, 0.5]])

    assert decoupled_B(student, teacher, FIRST, 4.0, 0.0, 8.0).item() == 0.0


def test_two_classes_are_refused_with_the_reason() -> None:
    with pytest.raises(BadInput, match="needs at least 3 classes, and the data has 2"):
        build_objective([Decoupled()], Setting(num_outputs=2))
