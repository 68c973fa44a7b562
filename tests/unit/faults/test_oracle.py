"""The oracle is silent about a good history, and complains of each forged one."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.history import (
    Answer,
    EventSeen,
    FileSeen,
    History,
    JobSeen,
    PointSeen,
    Survivor,
)
from tests.faults.oracle import STUDENT_FILE, complaints

Forge = Callable[[JobSeen], JobSeen]


def event(number: int, fence: int, kind: str, **data: object) -> EventSeen:
    return EventSeen(number, fence, f"job.{kind}", float(number), data=data)


def checkpoint(number: int, fence: int, step: int | None) -> EventSeen:
    """Forge a checkpoint; one between two stages has neither role nor step."""
    role = None if step is None else "student"
    return event(number, fence, "checkpoint", phase="training_student", role=role, step=step)


# A job whose first worker was lost after a checkpoint.
GOOD = JobSeen(
    id="distjob-1",
    name="one",
    status="succeeded",
    allowed=frozenset({"succeeded"}),
    events=[
        event(1, 0, "created"),
        event(2, 1, "claimed", attempt=1),
        event(3, 1, "phase_started", phase="training_student"),
        checkpoint(4, 1, 10),
        checkpoint(5, 1, 20),
        event(6, 1, "requeued"),
        event(7, 2, "claimed", attempt=2),
        event(8, 2, "restored", step=20),
        event(9, 2, "phase_started", phase="training_student"),
        checkpoint(10, 2, 20),
        checkpoint(11, 2, None),
        event(12, 2, "succeeded"),
    ],
    points=[PointSeen(1, "student/loss", 10), PointSeen(2, "student/loss", 10)],
    files=[FileSeen(STUDENT_FILE, "aa", "aa"), FileSeen("report.json", "bb", "bb")],
    student="aa",
)


def of(job: JobSeen) -> History:
    return History([GOOD.id], {job.id: job})


def with_events(*events: EventSeen) -> Forge:
    """Put events in the place of those from the first one's number on."""
    return lambda job: replace(job, events=[*job.events[: events[0].number - 1], *events])


def without_files(job: JobSeen) -> JobSeen:
    return replace(job, files=[])


def test_a_good_history_is_passed_over_in_silence() -> None:
    assert complaints(of(GOOD)) == []


@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (lambda job: replace(job, id="distjob-2"), "acknowledged and is gone"),
        (
            lambda job: replace(
                job, status="running", events=job.events[:-1], files=[], student=None
            ),
            "is running, not succeeded",
        ),
        (lambda job: replace(job, events=[job.events[0], *job.events[2:]]), "gaps"),
        (with_events(event(12, 1, "succeeded")), "an event of an old fence"),
        (
            with_events(event(12, 2, "succeeded"), event(13, 2, "succeeded")),
            "where no attempt runs",
        ),
        (with_events(event(12, 2, "succeeded"), event(13, 2, "succeeded")), "ended 2 times"),
        (with_events(event(12, 2, "succeeded"), event(13, 2, "cancel_requested")), "follows its"),
        (with_events(event(12, 2, "failed")), "its row succeeded"),
        (with_events(event(12, 2, "warning")), "no event says so"),
        (with_events(event(6, 2, "claimed", attempt=2)), "claimed while 1 ran"),
        (with_events(event(7, 3, "claimed", attempt=2)), "claim 2 has fence 3"),
        (with_events(event(7, 1, "phase_started", phase="evaluating")), "where no attempt runs"),
        (with_events(event(8, 3, "restored", step=20)), "while 2 ran"),
        (
            with_events(
                event(10, 2, "phase_started", phase="training_student"),
                event(11, 2, "succeeded"),
            ),
            "began training_student twice",
        ),
        (
            with_events(checkpoint(10, 2, 20), checkpoint(11, 2, 15), event(12, 2, "succeeded")),
            "step 15 followed one of step 20",
        ),
        (lambda job: replace(job, points=list(reversed(job.points))), "metric of an old fence"),
        (lambda job: replace(job, points=[job.points[0]] * 2), "at step 10 twice"),
        (
            lambda job: replace(job, files=[FileSeen(STUDENT_FILE, "aa", None)]),
            f"bytes of {STUDENT_FILE} are gone",
        ),
        (
            lambda job: replace(job, files=[FileSeen(STUDENT_FILE, "aa", "cc")]),
            "not those of its digest",
        ),
        (lambda job: replace(job, student="dd"), "not the one that an undisturbed run gives"),
        (without_files, "without a student"),
        (lambda job: replace(job, status="cancelled"), "is cancelled and has a student"),
    ],
)
def test_a_forged_job_is_found_out(forge: Forge, said: str) -> None:
    found = complaints(of(forge(GOOD)))

    assert any(said in sentence for sentence in found), found


def test_a_job_that_was_made_twice_is_found_out() -> None:
    twin = replace(GOOD, id="distjob-2")
    found = complaints(History([GOOD.id], {GOOD.id: GOOD, twin.id: twin}))

    assert found == ["one was made 2 times"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(0, "GET", "/", 500), "answered 500"),
        (Answer(0, "GET", "/", 503), "503 without Retry-After"),
        (Answer(0, "GET", "/", 0, "ReadTimeout"), "no answer (ReadTimeout)"),
        (Answer(0, "GET", "/", 503, "5"), ""),
        (Answer(0, "GET", "/", 409), ""),
    ],
)
def test_a_client_may_be_told_to_come_again_and_nothing_worse(answer: Answer, said: str) -> None:
    found = complaints(replace(of(GOOD), answers=[answer]))

    assert len(found) == bool(said)
    assert all(said in sentence for sentence in found)


def test_an_attempt_that_ends_though_nobody_did_it_harm_is_found_out() -> None:
    explained = replace(of(GOOD), touched=frozenset({(GOOD.id, 1)}))
    unexplained = replace(of(GOOD), touched=frozenset({(GOOD.id, 2)}))

    assert complaints(explained) == []
    assert complaints(unexplained) == ["one: attempt 1 was given up with no reason: "]


def test_a_process_that_outlives_its_attempt_is_found_out() -> None:
    found = complaints(replace(of(GOOD), survivors=[Survivor(GOOD.id, 1, 4711, 6.0)]))

    assert found == ["process 4711 outlived attempt 1 of distjob-1 by 6.0 s"]
