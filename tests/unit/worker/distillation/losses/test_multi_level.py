"""MLKD: a number by hand, the published formula, and shares that are each example's."""

import math

import pytest
import torch
from torch import Tensor

from tests.unit.worker.distillation.losses.every_loss import drawn
from worker.distillation.losses.multi_level import multi_level_B

TEACHER, STUDENT = torch.tensor([[1e4, 0.0], [0.0, 1e4]]), torch.zeros(2, 2)


def test_by_hand() -> None:
    """Teacher (1, 0) and (0, 1), student twice (1/2, 1/2).

    An instance is log 2. Products of examples are the unit matrix against 1/2 everywhere: 1/4 four
    times, over B = 2. Those of classes are the same, over C = 2.
    """
    values = multi_level_B(STUDENT, TEACHER, [1.0])

    assert values.tolist() == pytest.approx([math.log(2) + 0.5 + 0.5] * 2)


def test_temperatures_are_summed_and_an_instance_keeps_the_square_of_each() -> None:
    values = multi_level_B(STUDENT, TEACHER, [1.0, 2.0])

    assert values.tolist() == pytest.approx([(1 + 4) * math.log(2) + 2 * (0.5 + 0.5)] * 2)


def test_its_mean_is_the_published_formula() -> None:
    """Section 3, as in the authors' kd_loss, bc_loss and cc_loss, of one view and without masks."""
    student, teacher, _ = drawn(0)

    def published(temperature: float) -> Tensor:
        p = (teacher.logits_BC / temperature).softmax(dim=1)
        q = (student.logits_BC / temperature).softmax(dim=1)
        instance = (p * (p / q).log()).sum(dim=1).mean() * temperature**2
        batch = ((p @ p.T - q @ q.T) ** 2).sum() / 6
        classes = ((p.T @ p - q.T @ q) ** 2).sum() / 4
        return instance + batch + classes

    values = multi_level_B(student.logits_BC, teacher.logits_BC, [2.0, 3.0, 5.0])

    torch.testing.assert_close(values.mean(), published(2.0) + published(3.0) + published(5.0))


def test_an_example_bears_its_own_instance_and_its_row_of_relations() -> None:
    """Examples (1, 0) that both models give: what differs is borne by the third, (0, 1).

    The student thinks it (1, 0) too, so its products with the others are 1 and not 0: 2 of its row,
    and 1 of the first ones' rows.
    """
    teacher = torch.tensor([[1e4, 0.0], [1e4, 0.0], [0.0, 1e4]])
    student = torch.tensor([[1e4, 0.0], [1e4, 0.0], [1e4, 0.0]])
    # Products of classes: diag(2, 1) against diag(3, 0), 1 + 1 over 2 classes, the same for all.
    expected = [1 + 1.0, 1 + 1.0, 2 + 1.0 + 1e4]

    assert multi_level_B(student, teacher, [1.0]).tolist() == pytest.approx(expected)
