"""Learning rates by hand and against torch's own schedule; the optimizers a spec names."""

import pytest
import torch
from torch import nn

from app.contracts.training import Adamw, Constant, Cosine, OneCycle, Sgd, Step
from worker.distillation.optimization import LAST_SHARE, build_optimizer, rate


def test_a_constant_rate_warms_up_to_its_peak() -> None:
    schedule = Constant(warmup_epochs=2)

    assert [rate(schedule, step, 6, 2) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_without_a_warm_up_the_first_step_has_the_full_rate() -> None:
    assert rate(Constant(), 0, 6, 2) == 1


def test_steps_drop_the_rate_after_their_epochs() -> None:
    schedule = Step(milestones=[2, 1], factor=0.1)

    rates = [rate(schedule, step, 6, 2) for step in range(6)]

    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_a_cosine_falls_to_its_final_share_at_the_last_step() -> None:
    schedule = Cosine(final=0.2, warmup_epochs=1)

    rates = [rate(schedule, step, 6, 2) for step in range(6)]

    assert rates == pytest.approx([0.5, 1, 1, 0.8, 0.4, 0.2])


@pytest.mark.parametrize(("num_steps", "rise"), [(50, 0.3), (7, 0.5), (1000, 0.1)])
def test_one_cycle_is_torchs(num_steps: int, rise: float) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=num_steps, pct_start=rise, cycle_momentum=False
    )
    for step in range(num_steps):
        expected = theirs.get_last_lr()[0]
        assert rate(OneCycle(rise=rise), step, num_steps, 10) == pytest.approx(expected, rel=1e-6)
        optimizer.step()
        if step + 1 < num_steps:
            theirs.step()


@pytest.mark.parametrize("num_steps", [1, 2, 3])
@pytest.mark.parametrize("schedule", [OneCycle(), Cosine(warmup_epochs=5), Constant()])
def test_the_shortest_trainings_have_a_rate(
    schedule: OneCycle | Cosine | Constant, num_steps: int
) -> None:
    assert all(0 <= rate(schedule, step, num_steps, 1) <= 1 for step in range(num_steps))
    assert rate(schedule, 0, num_steps, 1) > 0


@pytest.mark.parametrize("rise", [0.01, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 4, 5])
def test_one_cycle_comes_near_its_peak_however_short_the_training(
    num_steps: int, rise: float
) -> None:
    rates = [rate(OneCycle(rise=rise), step, num_steps, 1) for step in range(num_steps)]

    assert max(rates) >= 0.45
    assert rates[0] == 1 or num_steps > 2
    assert num_steps == 1 or rates[-1] == pytest.approx(LAST_SHARE)


def test_sgd_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    optimizer = build_optimizer([weight], Sgd(lr=0.1, momentum=0.5, weight_decay=0.2))
    for expected in (1 - 0.1 * 1.2, 0.88 - 0.1 * (0.5 * 1.2 + 1 + 0.2 * 0.88)):
        weight.grad = torch.tensor([1.0])
        optimizer.step()
        assert weight.item() == pytest.approx(expected)


def test_adamw_decays_weights_apart_from_the_gradient() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    optimizer = build_optimizer([weight], Adamw(lr=0.1, weight_decay=0.5))
    weight.grad = torch.tensor([3.0])
    optimizer.step()

    assert weight.item() == pytest.approx(1 - 0.1 * 0.5 - 0.1)
