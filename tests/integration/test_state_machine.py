"""Every verb in every state by every actor, against a model of what a job may become.

The model is the table of states in a few lines of Python, written down a second time: the database
is asked after each step whether it says the same.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from app.contracts.job import FINAL, DesiredStatus, JobError, Status
from app.db import lifecycle, verbs, wishes
from app.db.checkpoints import Checkpoint, CheckpointFile
from app.db.lifecycle import LEGAL, Actor, Event
from app.db.models import Job, JobEvent
from app.db.session import Database, database_now
from app.errors import Conflict
from tests.jobs import claimed, queued
from tests.unit.app.served import report

ERROR = JobError(code="crash", message="It fell.", retryable=True)
LONG_SECONDS = 60
MAX_ATTEMPTS = 3
MAX_LOSSES = 3
ENDING = {Actor.HOLDER, Actor.REAPER}

AGES = st.sampled_from([0, 0, 0, 0, 1, 2, -1])
"""How many claims ago a worker got its fence: 0 holds the job, 1 lost it, -1 never had it."""
WAITS = st.sampled_from([0, 0, 0, LONG_SECONDS])
ACTORS = st.sampled_from([Actor.HOLDER, Actor.HOLDER, Actor.REAPER, *Actor])

SETTINGS = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Model:
    """A job, as far as its state goes."""

    status: Status = Status.QUEUED
    desired: DesiredStatus = DesiredStatus.RUNNING
    kill: bool = False
    backs_off: bool = False
    fence: int = 0
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    checkpoints: int = 0
    events: int = 1
    version: int = 1

    def moved(self, status: Status, **changes: Any) -> "Model":  # noqa: ANN401 (fields of it)
        """Make a change that is told by an event."""
        return replace(
            self, status=status, events=self.events + 1, version=self.version + 1, **changes
        )

    def requeued(self, wait: float, **charged: int) -> "Outcome":
        if self.desired == DesiredStatus.CANCELLED:
            return IntegrityError
        if self.desired == DesiredStatus.PAUSED:
            return self.moved(Status.PAUSED, **charged)
        return self.moved(Status.QUEUED, backs_off=wait > 0, **charged)


Outcome = Model | type[Exception]
"""What a verb leads to: another state, or a refusal that changes nothing."""


class Lifecycle(RuleBasedStateMachine):
    """One job, and everyone who may do something to it."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.end: dict[str, Any] | None = None
        self.begin()

    def begin(self) -> None:
        self.job_id = queued(self.database)
        self.model = Model()
        self.end = None

    def teardown(self) -> None:
        with self.database.write() as session:
            for table in (CheckpointFile, Checkpoint, JobEvent, Job):
                session.execute(delete(table))

    @precondition(lambda self: self.model.status in FINAL)
    @rule()
    def begin_anew(self) -> None:
        self.teardown()
        self.begin()

    # A worker that comes for a job.

    @rule()
    def claim(self) -> None:
        model = self.model
        if model.status == Status.QUEUED and not model.backs_off:
            claimed(self.database)
            self.model = model.moved(
                Status.RUNNING, fence=model.fence + 1, attempt=model.attempt + 1
            )
        else:
            with self.database.write() as session:
                assert verbs.claim(session, "worker-2", 0, LONG_SECONDS) is None

    # Workers that have claimed it, one of which holds it.

    @rule(age=AGES)
    def renew(self, age: int) -> None:
        after = replace(self.model, version=self.model.version + 1)
        self.hold(age, lambda s, job: verbs.renew(s, job, LONG_SECONDS, None, {"loss": 1}), after)

    @rule(age=AGES)
    def record(self, age: int) -> None:
        event = Event("job.warning", "Something.")
        self.hold(
            age, lambda s, job: verbs.record(s, job, event), self.model.moved(self.model.status)
        )

    @rule(age=AGES)
    def commit_checkpoint(self, age: int) -> None:
        number = self.model.checkpoints + 1

        def commit(session: Session, job: Job) -> None:
            checkpoint = Checkpoint(
                id=f"checkpoint-{uuid7()}",
                phase="preparing",
                metrics={},
                created_at=database_now(session),
            )
            file = CheckpointFile(path="a", bytes=1, sha256="0" * 64)
            verbs.commit_checkpoint(session, job, checkpoint, [file])

        after = self.model.moved(self.model.status, checkpoints=number, failures=0, losses=0)
        self.hold(age, commit, after)

    @rule(age=AGES)
    def succeed(self, age: int) -> None:
        cancelled = self.model.desired == DesiredStatus.CANCELLED
        after = IntegrityError if cancelled else self.model.moved(Status.SUCCEEDED)
        self.hold(age, lambda s, job: verbs.succeed(s, job, report()), after)

    @rule(age=AGES, by=ACTORS)
    def fail(self, age: int, by: Actor) -> None:
        after = self.model.moved(Status.FAILED) if by in ENDING else AssertionError
        self.hold(age, lambda s, job: verbs.fail(s, job, ERROR, by), after)

    @rule(age=AGES, by=ACTORS)
    def confirm_cancelled(self, age: int, by: Actor) -> None:
        after = self.confirmed(Status.CANCELLED, DesiredStatus.CANCELLED, by)
        self.hold(age, lambda s, job: verbs.confirm_cancelled(s, job, by), after)

    @rule(age=AGES, by=ACTORS)
    def confirm_paused(self, age: int, by: Actor) -> None:
        after = self.confirmed(Status.PAUSED, DesiredStatus.PAUSED, by)
        self.hold(age, lambda s, job: verbs.confirm_paused(s, job, by), after)

    @rule(age=AGES, wait=WAITS)
    def retry(self, age: int, wait: float) -> None:
        failures = self.model.failures + 1
        after = (
            self.model.moved(Status.FAILED)
            if failures >= MAX_ATTEMPTS
            else self.model.requeued(wait, failures=failures)
        )
        self.hold(age, lambda s, job: verbs.retry(s, job, ERROR, wait), after)

    @rule(age=AGES, wait=WAITS)
    def set_aside(self, age: int, wait: float) -> None:
        losses = self.model.losses + 1
        after = (
            self.model.moved(Status.FAILED)
            if losses >= MAX_LOSSES
            else self.model.requeued(wait, losses=losses)
        )
        self.hold(age, lambda s, job: verbs.set_aside(s, job, ERROR, wait), after)

    @rule(age=AGES)
    def give_back(self, age: int) -> None:
        self.hold(age, verbs.give_back, self.model.requeued(0))

    # The reaper, which names no fence.

    @rule()
    def take_back(self) -> None:
        model, losses = self.model, self.model.losses + 1
        after: Outcome
        if model.status != Status.RUNNING:
            after = AssertionError
        elif model.desired == DesiredStatus.CANCELLED:
            after = model.moved(Status.CANCELLED)
        elif losses >= MAX_LOSSES:
            after = model.moved(Status.FAILED)
        else:
            after = model.requeued(0, losses=losses)
        self.lock(verbs.take_back, after)

    # The client.

    @rule(kill=st.booleans())
    def cancel(self, kill: bool) -> None:  # noqa: FBT001 (a strategy names it)
        model = self.model
        cancelled = {"desired": DesiredStatus.CANCELLED}
        after: Outcome
        if model.status in {Status.SUCCEEDED, Status.FAILED}:
            after = Conflict
        elif model.status == Status.RUNNING:
            known = model.desired == DesiredStatus.CANCELLED and model.kill >= kill
            after = model if known else model.moved(Status.RUNNING, kill=kill, **cancelled)
        elif model.status == Status.CANCELLED:
            after = model
        else:
            after = model.moved(Status.CANCELLED, **cancelled)
        self.lock(lambda s, job: wishes.cancel(s, job, kill=kill), after)

    @rule()
    def pause(self) -> None:
        model = self.model
        after = self.refused_wish()
        if after is None and model.desired == DesiredStatus.PAUSED:
            after = model
        elif after is None:
            to = Status.PAUSED if model.status == Status.QUEUED else Status.RUNNING
            after = model.moved(to, desired=DesiredStatus.PAUSED)
        self.lock(wishes.pause, after)

    @rule()
    def resume(self) -> None:
        model = self.model
        after = self.refused_wish()
        if after is None and model.desired == DesiredStatus.RUNNING:
            after = model
        elif after is None:
            to = Status.QUEUED if model.status == Status.PAUSED else Status.RUNNING
            after = model.moved(to, desired=DesiredStatus.RUNNING, backs_off=False)
        self.lock(wishes.resume, after)

    # Anyone, to anywhere that the table does not allow.

    @rule(by=st.sampled_from(list(Actor)), to=st.sampled_from(list(Status)))
    def overstep(self, by: Actor, to: Status) -> None:
        if by not in LEGAL.get((self.model.status, to), ()):
            self.lock(
                lambda s, job: lifecycle.transition(s, job, to, by=by, event=None), AssertionError
            )

    def refused_wish(self) -> Outcome | None:
        ends = self.model.status in FINAL or self.model.desired == DesiredStatus.CANCELLED
        return Conflict if ends else None

    def confirmed(self, status: Status, desired: DesiredStatus, by: Actor) -> Outcome:
        if by not in ENDING:
            return AssertionError
        return self.model.moved(status) if self.model.desired == desired else IntegrityError

    def hold(self, age: int, act: Callable[[Session, Job], object], after: Outcome) -> None:
        """Do something as the worker that got its fence some claims ago."""
        fence = self.model.fence - age
        holds = self.model.status == Status.RUNNING and age == 0
        self.act(
            lambda session: act(session, verbs.hold(session, self.job_id, fence)),
            after if holds else verbs.FenceLost,
        )

    def lock(self, act: Callable[[Session, Job], object], after: Outcome) -> None:
        self.act(lambda session: act(session, lifecycle.lock(session, self.job_id)), after)

    def act(self, act: Callable[[Session], object], after: Outcome) -> None:
        before = self.row()
        if isinstance(after, Model):
            with self.database.write() as session:
                act(session)
        else:
            with pytest.raises(after), self.database.write() as session:
                act(session)
        if after == self.model or not isinstance(after, Model):
            assert self.row() == before
        else:
            self.model = after

    def row(self) -> dict[str, Any]:
        with self.database.read() as session:
            return dict(session.execute(select(Job.__table__)).one()._mapping)  # noqa: SLF001 (its documented name)

    def check(self) -> None:
        self.the_database_says_what_the_model_does()
        self.a_row_makes_sense()
        self.an_end_is_for_good()
        self.events_have_no_gaps_fences_only_rise_and_there_is_one_end_at_most()
        self.the_two_newest_checkpoints_are_kept()

    @invariant()
    def the_database_says_what_the_model_does(self) -> None:
        row = self.row()
        assert self.model == Model(
            status=row["status"],
            desired=row["desired_status"],
            kill=row["kill_requested"],
            backs_off=self.model.backs_off,
            fence=row["fence"],
            attempt=row["attempt"],
            failures=row["num_failures"],
            losses=row["num_losses"],
            checkpoints=row["num_checkpoints"],
            events=row["num_events"],
            version=row["version"],
        )

    @invariant()
    def a_row_makes_sense(self) -> None:
        row, status = self.row(), self.model.status
        assert (status == Status.RUNNING) == (row["lease_until"] is not None)
        assert (status == Status.RUNNING) == (row["worker_id"] is not None)
        assert (status in FINAL) == (row["finished_at"] is not None)
        assert (status == Status.SUCCEEDED) == (row["result"] is not None)
        assert (status == Status.FAILED) == (row["error"] is not None)
        wanted = {
            Status.QUEUED: {DesiredStatus.RUNNING},
            Status.PAUSED: {DesiredStatus.PAUSED},
            Status.CANCELLED: {DesiredStatus.CANCELLED},
            Status.SUCCEEDED: {DesiredStatus.RUNNING, DesiredStatus.PAUSED},
        }
        assert self.model.desired in wanted.get(status, set(DesiredStatus))

    @invariant()
    def an_end_is_for_good(self) -> None:
        if self.end is not None:
            assert self.row() == self.end
        elif self.model.status in FINAL:
            self.end = self.row()

    @invariant()
    def events_have_no_gaps_fences_only_rise_and_there_is_one_end_at_most(self) -> None:
        with self.database.read() as session:
            events = session.scalars(select(JobEvent).order_by(JobEvent.number)).all()
        assert [event.number for event in events] == list(range(1, self.model.events + 1))
        fences = [event.fence for event in events]
        assert fences == sorted(fences)
        assert fences[-1] <= self.model.fence
        types = [event.type for event in events]
        assert types.count("job.claimed") == self.model.attempt
        ends = [f"job.{status}" for status in FINAL]
        assert sum(map(types.count, ends)) == (self.model.status in FINAL)
        # Once asked, never taken back: nothing but its confirmation or another end may follow.
        if "job.cancel_requested" in types:
            assert self.model.desired == DesiredStatus.CANCELLED

    @invariant()
    def the_two_newest_checkpoints_are_kept(self) -> None:
        with self.database.read() as session:
            kept = session.scalars(select(Checkpoint.number).order_by(Checkpoint.number)).all()
            files = session.scalars(select(CheckpointFile.checkpoint_id)).all()
        newest = self.model.checkpoints
        assert kept == list(range(max(1, newest - 1), newest + 1))
        assert len(files) == len(kept)


Step = Callable[[Lifecycle], None]

ATTEMPT: list[Step] = [Lifecycle.claim, partial(Lifecycle.commit_checkpoint, age=0)]
FAILURE: list[Step] = [Lifecycle.claim, partial(Lifecycle.retry, age=0, wait=0)]
LOSS: list[Step] = [Lifecycle.claim, Lifecycle.take_back]
STATES: dict[str, list[Step]] = {
    "queued": [],
    "queued, backing off": [Lifecycle.claim, partial(Lifecycle.retry, age=0, wait=LONG_SECONDS)],
    "queued, after failures": FAILURE * 2,
    "running": ATTEMPT,
    "running again": [*ATTEMPT, partial(Lifecycle.give_back, age=0), *ATTEMPT],
    "running, at its last failure": [*FAILURE, *FAILURE, Lifecycle.claim],
    "running, at its last loss": [*LOSS, *LOSS, Lifecycle.claim],
    "running, to be paused": [*ATTEMPT, Lifecycle.pause],
    "running, to be cancelled": [*ATTEMPT, partial(Lifecycle.cancel, kill=False)],
    "running, to be killed": [*ATTEMPT, partial(Lifecycle.cancel, kill=True)],
    "paused": [Lifecycle.pause],
    "paused in an attempt": [
        *ATTEMPT,
        Lifecycle.pause,
        partial(Lifecycle.confirm_paused, age=0, by=Actor.HOLDER),
    ],
    "succeeded": [*ATTEMPT, partial(Lifecycle.succeed, age=0)],
    "failed": [*ATTEMPT, partial(Lifecycle.fail, age=0, by=Actor.REAPER)],
    "cancelled": [partial(Lifecycle.cancel, kill=False)],
}
STEPS: list[Step] = [
    Lifecycle.claim,
    Lifecycle.take_back,
    Lifecycle.pause,
    Lifecycle.resume,
    *(partial(Lifecycle.cancel, kill=kill) for kill in (False, True)),
    *(
        partial(verb, age=age)
        for age in (0, 1, -1)
        for verb in (
            Lifecycle.renew,
            Lifecycle.record,
            Lifecycle.commit_checkpoint,
            Lifecycle.succeed,
            Lifecycle.give_back,
        )
    ),
    *(
        partial(verb, age=age, wait=wait)
        for age in (0, 1, -1)
        for wait in (0, LONG_SECONDS)
        for verb in (Lifecycle.retry, Lifecycle.set_aside)
    ),
    *(
        partial(verb, age=age, by=by)
        for age in (0, 1, -1)
        for by in Actor
        for verb in (Lifecycle.fail, Lifecycle.confirm_cancelled, Lifecycle.confirm_paused)
    ),
    *(partial(Lifecycle.overstep, by=by, to=to) for by in Actor for to in Status),
]


def try_everything_everywhere(database: Database) -> None:
    def arrive(path: list[Step]) -> Lifecycle:
        job = Lifecycle(database)
        for step in path:
            step(job)
        return job

    for path in STATES.values():
        job = arrive(path)
        for step in STEPS:
            start = job.model
            step(job)
            if job.model != start:
                job.check()
                job.teardown()
                job = arrive(path)
        job.check()
        job.teardown()


@pytest.fixture
def few_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a job be given up after as many losses as a walk comes by."""
    monkeypatch.setattr(verbs, "MAX_LOSSES", MAX_LOSSES)


@pytest.mark.slow
@pytest.mark.usefixtures("few_losses")
def test_every_verb_by_every_actor_does_in_every_state_what_the_table_says(
    database: Database,
) -> None:
    try_everything_everywhere(database)


@pytest.mark.slow
@pytest.mark.usefixtures("few_losses")
def test_a_job_becomes_what_the_table_says_wherever_it_has_been(database: Database) -> None:
    class Walk(Lifecycle):
        def __init__(self) -> None:
            super().__init__(database)

    run_state_machine_as_test(Walk, settings=SETTINGS)


@pytest.mark.usefixtures("few_losses")
def test_it_is_found_out_when_fences_are_not_looked_at(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hold(session: Session, job_id: str, _fence: int) -> Job:
        job = lifecycle.lock(session, job_id)
        if job.status != Status.RUNNING:
            raise verbs.FenceLost
        return job

    monkeypatch.setattr(verbs, "hold", hold)

    with pytest.raises(pytest.fail.Exception, match=r"DID NOT RAISE.*FenceLost"):
        try_everything_everywhere(sqlite_database)
