"""What an attempt writes while it runs, and what it learns from the database."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.config import Settings
from app.contracts.job import Phase, Progress
from app.contracts.message import (
    AnyMessage,
    MetricsMeasured,
    PhaseFinished,
    PhaseStarted,
    ProgressMade,
    Warned,
)
from app.db import lifecycle, verbs, wishes
from app.db.models import Job, JobEvent, JobLog, JobMetric
from app.db.session import Database
from tests.jobs import claimed, queued
from worker.journal import LIMIT_BYTES, PIECE_BYTES
from worker.lease import Claim, Lease, Wish

SETTINGS = Settings(renew_seconds=0.05, lease_seconds=30)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def job(database: Database) -> Job:
    queued(database)
    return claimed(database, lease_seconds=1)


def read(database: Database, job: Job) -> Job:
    with database.read() as session:
        return session.get_one(Job, job.id)


def held(database: Database, job: Job, output: Path) -> Lease:
    return Lease(database, Claim(job.id, job.fence), SETTINGS, output)


def test_what_the_trainer_says_becomes_events_phases_metrics_and_progress(
    database: Database, job: Job, tmp_path: Path
) -> None:
    said: list[AnyMessage] = [
        PhaseStarted(phase=Phase.PREPARING),
        PhaseFinished(phase=Phase.PREPARING, summary="100 rows"),
        PhaseStarted(phase=Phase.TRAINING_TEACHER),
        Warned(message="Few rows."),
        Warned(message="Few rows."),
        MetricsMeasured(step=1, values={"teacher/loss": 2.0}),
        MetricsMeasured(step=2, values={"teacher/loss": 1.0}),
        ProgressMade(progress=Progress(phase=Phase.TRAINING_TEACHER, step=2)),
    ]
    with held(database, job, tmp_path / "none") as lease:
        for message in said:
            lease.add(message)

    now = read(database, job)
    assert now.phase == Phase.TRAINING_TEACHER
    assert [(p["name"], p["status"]) for p in now.phases] == [
        ("preparing", "succeeded"),
        ("training_teacher", "running"),
    ]
    assert now.warnings == ["Few rows."]
    assert now.latest_metrics == {"teacher/loss": 1.0}
    assert now.progress is not None
    assert now.progress["step"] == 2
    with database.read() as session:
        events = session.scalars(select(JobEvent).order_by(JobEvent.number)).all()
        metrics = session.scalars(select(JobMetric).order_by(JobMetric.step)).all()
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert [event.message for event in events[2:]] == [
        "Preparing has begun.",
        "Preparing: 100 rows",
        "Training teacher has begun.",
        "Few rows.",
    ]
    assert [(metric.step, metric.value) for metric in metrics] == [(1, 2.0), (2, 1.0)]


def test_a_held_job_s_lease_moves_on_without_any_news(
    database: Database, job: Job, tmp_path: Path
) -> None:
    before = job.lease_until
    assert before is not None
    with held(database, job, tmp_path / "none"):
        wait_for(lambda: (read(database, job).lease_until or before) > before)


@pytest.mark.parametrize(("kill", "wish"), [(False, Wish.STOP), (True, Wish.KILL)])
def test_a_cancelled_job_is_noticed_at_the_next_renewal(
    database: Database, job: Job, tmp_path: Path, *, kill: bool, wish: Wish
) -> None:
    with held(database, job, tmp_path / "none") as lease:
        with database.write() as session:
            wishes.cancel(session, lifecycle.lock(session, job.id), kill=kill)
        wait_for(lambda: lease.wish is wish)


def test_a_stale_attempt_abandons_and_writes_nothing_more(
    database: Database, job: Job, tmp_path: Path
) -> None:
    with database.write() as session:
        verbs.take_back(session, lifecycle.lock(session, job.id))
    new = claimed(database)
    with held(database, job, tmp_path / "none") as lease:
        lease.add(PhaseStarted(phase=Phase.PREPARING))
        wait_for(lambda: lease.wish is Wish.ABANDON)

    now = read(database, job)
    assert (now.fence, now.version, now.phase) == (new.fence, new.version, None)


def test_the_log_is_kept_in_order_with_its_last_words(
    database: Database, job: Job, tmp_path: Path
) -> None:
    output = tmp_path / "trainer.log"
    with held(database, job, output):
        output.write_text("first\nsecond\n")
        wait_for(lambda: len(_log(database)) > 0)
        with output.open("ab") as file:
            file.write("third\nEnde \0 \N{GREEK SMALL LETTER ALPHA}".encode())

    assert "".join(_log(database)) == (
        "first\nsecond\nthird\nEnde \N{REPLACEMENT CHARACTER} \N{GREEK SMALL LETTER ALPHA}"
    )


def test_a_phase_that_an_earlier_attempt_has_done_keeps_its_times(
    database: Database, job: Job, tmp_path: Path
) -> None:
    teacher = Phase.TRAINING_TEACHER
    with held(database, job, tmp_path / "none") as lease:
        lease.add(PhaseStarted(phase=Phase.PREPARING))
        lease.add(PhaseFinished(phase=Phase.PREPARING))
        lease.add(PhaseStarted(phase=teacher))
        lease.add(PhaseFinished(phase=teacher))
    before = read(database, job).phases
    with database.write() as session:
        verbs.give_back(session, verbs.hold(session, job.id, job.fence))
    again = claimed(database)

    with held(database, again, tmp_path / "none") as lease:
        lease.add(PhaseStarted(phase=Phase.PREPARING))
        lease.add(PhaseFinished(phase=Phase.PREPARING))
        lease.add(PhaseStarted(phase=teacher, restored=True))
        lease.add(PhaseFinished(phase=teacher, restored=True))

    after = {record["name"]: record for record in read(database, job).phases}
    assert after[teacher] == before[1]
    assert after[Phase.PREPARING]["started_at"] > before[0]["started_at"]


def test_a_trainer_that_prints_without_end_does_not_fill_the_database(
    database: Database, job: Job, tmp_path: Path
) -> None:
    output = tmp_path / "trainer.log"
    output.write_bytes(b"first words\n" + b"\n" * PIECE_BYTES)
    with held(database, job, output):
        wait_for(lambda: len(_log(database)) > 0)
        for _ in range(3):
            with output.open("ab") as file:
                file.write(b"\n" * LIMIT_BYTES)
            time.sleep(0.5)
        with output.open("ab") as file:
            file.write(b"last words\n")

    text = "".join(_log(database))
    assert len(text) <= LIMIT_BYTES + PIECE_BYTES
    assert text.startswith("first words\n")
    assert text.endswith("last words\n")


def test_the_file_that_a_trainer_prints_to_is_emptied_when_it_was_read(
    database: Database, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.journal.FILE_BYTES", 1000)
    output = tmp_path / "trainer.log"
    output.write_bytes(b"before\n" * 200)
    with held(database, job, output):
        wait_for(lambda: output.stat().st_size == 0)
        with output.open("ab") as file:
            file.write(b"after\n")

    assert "".join(_log(database)) == "before\n" * 200 + "after\n"


def _log(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(JobLog.text).order_by(JobLog.number)))


def test_a_commit_whose_answer_was_lost_is_not_written_twice(
    database: Database, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "trainer.log"
    output.write_text("once\n")
    write = database.write
    lost: list[int] = []

    @contextmanager
    def write_and_lose_the_answer() -> Iterator[Session]:
        with write() as session:
            yield session
        if not lost:
            lost.append(1)
            raise OperationalError("COMMIT", None, ConnectionError("cut"))

    monkeypatch.setattr(database, "write", write_and_lose_the_answer)
    with held(database, job, output) as lease:
        lease.add(PhaseStarted(phase=Phase.PREPARING))
        wait_for(lambda: lost != [])
        lease.add(PhaseFinished(phase=Phase.PREPARING))

    assert lease.wish is Wish.GO_ON
    assert [phase["name"] for phase in read(database, job).phases] == ["preparing"]
    assert _log(database) == ["once\n"]


def test_an_error_that_is_no_outage_ends_the_attempt(
    database: Database, job: Job, tmp_path: Path
) -> None:
    with held(database, job, tmp_path) as lease:  # a folder cannot be read as a log
        wait_for(lambda: lease.wish is Wish.ABANDON)
