"""AB: the hinge by hand, on either side of the boundary."""

import pytest
import torch

from worker.distillation.losses.activation_boundary import activation_boundary_B


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        (3.0, 0.1, 0.0),  # fires, beyond the margin of 2
        (0.5, 9.0, 2.25),  # fires, 1.5 short of it
        (-1.0, 0.5, 9.0),  # on the wrong side
        (-2.5, -0.1, 0.0),
        (1.0, -7.0, 9.0),
        (1.0, 0.0, 9.0),  # a response of 0 does not fire
    ],
)
def test_by_hand(student: float, teacher: float, expected: float) -> None:
    """Equation 5: the squared distance to a margin of 2 beyond the teacher's side of 0."""
    given = (torch.full((1, 1, 1, 2), value) for value in (student, teacher))

    assert activation_boundary_B(*given, margin=2.0).tolist() == [pytest.approx(expected)]


def test_how_strongly_the_teacher_fires_does_not_matter() -> None:
    student, teacher = torch.randn(2, 3, 2, 4, 4)

    torch.testing.assert_close(
        activation_boundary_B(student, 100 * teacher, 1.0),
        activation_boundary_B(student, teacher, 1.0),
    )
