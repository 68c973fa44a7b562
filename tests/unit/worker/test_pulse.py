"""A trainer hangs when it is silent for long, and for far longer than its steps take."""

from worker.pulse import Pulse


def test_a_trainer_that_never_says_anything_hangs_after_the_limit() -> None:
    pulse = Pulse(hang_seconds=300, now=1000)

    assert not pulse.hangs(1300)
    assert pulse.hangs(1301)


def test_a_sign_of_life_starts_the_clock_anew() -> None:
    pulse = Pulse(hang_seconds=300, now=0)
    pulse.beat(20)

    assert not pulse.hangs(320)
    assert pulse.hangs(321)


def test_steps_that_take_long_are_given_ten_times_as_long() -> None:
    pulse = Pulse(hang_seconds=300, now=0)
    for moment in (100, 200, 201, 301):
        pulse.beat(moment)

    assert not pulse.hangs(301 + 1000)
    assert pulse.hangs(301 + 1001)
