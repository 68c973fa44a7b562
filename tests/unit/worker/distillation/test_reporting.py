"""How fast a phase is and how long it will take, as it is told."""

import pytest
import torch

from app.contracts.job import Phase
from app.contracts.message import AnyMessage, ProgressMade
from app.contracts.response_losses import Labels
from tests.unit.worker.distillation.toys import briefly, toy_images, toy_model
from worker.distillation.reporting import Pace, Reporter
from worker.distillation.trainer import Plan
from worker.distillation.training import train

CPU = torch.device("cpu")


class Clock:
    """Stands for the module's ``time``."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("worker.distillation.reporting.time", made)
    return made


@pytest.mark.parametrize("first", [0, 400])
def test_what_is_left_is_told_by_the_steps_made_alone(clock: Clock, first: int) -> None:
    """Neither by the time before them, nor by what an earlier run made."""
    pace = Pace(Phase.TRAINING_STUDENT, 1000, batch_size=12.5)
    clock.seconds = 500
    start = pace.at(first)
    clock.seconds = 502
    later = pace.at(first + 100)

    assert (start.step, start.seconds_left, start.examples_per_second) == (first, None, None)
    assert later.examples_per_second == pytest.approx(625)
    assert later.seconds_left == pytest.approx((900 - first) / 50)


def test_examples_are_counted_as_the_batches_hold_them(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.distillation.reporting.PROGRESS_EVERY_SECONDS", 0)
    made = []

    def hear(message: AnyMessage) -> None:
        if isinstance(message, ProgressMade):
            made.append(message.progress)
            clock.seconds += 1

    plan = Plan("student", Phase.TRAINING_STUDENT, briefly(batch_size=1000), [Labels()], CPU)
    train(toy_model(), toy_images(num_train=22), plan, Reporter(hear))

    assert [each.examples_per_second for each in made] == [None, 22, 22]
    assert [each.seconds_left for each in made] == [None, 2, 1]
