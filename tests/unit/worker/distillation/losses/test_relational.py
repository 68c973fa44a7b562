"""RKD: distances and angles by hand, and by the published formulas."""

import pytest
import torch
from torch.nn import functional as F

from worker.distillation.losses.relational import (
    angle_B,
    cosines_BBB,
    distance_B,
    distances_BB,
)

DRAWN = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_distances_are_over_the_mean_of_those_above_zero_by_hand() -> None:
    # Points 0, 3 and 4 on a line: the six distances 3, 4, 1 and back have the mean 8/3.
    points = torch.tensor([[0.0], [3.0], [4.0]])

    expected = torch.tensor([[0.0, 3.0, 4.0], [3.0, 0.0, 1.0], [4.0, 1.0, 0.0]]) * 3 / 8
    torch.testing.assert_close(distances_BB(points), expected)


def test_a_right_angle_has_the_cosine_zero() -> None:
    corner = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 5.0]])

    assert cosines_BBB(corner)[0, 1, 2].item() == pytest.approx(0)
    assert cosines_BBB(corner)[0, 1, 1].item() == pytest.approx(1)


def test_are_the_published_losses() -> None:
    """Equations 5 and 8, with means over all pairs and triplets as in the authors' code."""

    def psi(x: torch.Tensor) -> torch.Tensor:
        distances = torch.stack([torch.stack([(a - b).norm() for b in x]) for a in x])
        return distances / distances[distances > 0].mean()

    def angles(x: torch.Tensor) -> torch.Tensor:
        unit = F.normalize(x[None] - x[:, None], dim=2)
        return torch.einsum("ijd,ikd->ijk", unit, unit)

    student, teacher = DRAWN
    torch.testing.assert_close(
        distance_B(student, teacher).mean(), F.smooth_l1_loss(psi(student), psi(teacher))
    )
    torch.testing.assert_close(
        angle_B(student, teacher).mean(), F.smooth_l1_loss(angles(student), angles(teacher))
    )


def test_scale_and_place_do_not_matter() -> None:
    student, teacher = DRAWN
    torch.testing.assert_close(distance_B(1e6 * student + 7, teacher), distance_B(student, teacher))
