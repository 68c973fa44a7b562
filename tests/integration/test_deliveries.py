"""Deliveries: written with what they tell of, claimed by one, tried again, given up in time."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from sqlalchemy import ColumnElement, String, func, insert, literal, select, true, update
from uuid_utils import uuid7

from app.contracts.webhooks import OF_JOBS
from app.db import deliveries, lifecycle, wishes
from app.db.deliveries import JITTER, RETRY_SECONDS, Claim, Outcome
from app.db.models import Job, Project
from app.db.session import Database, database_now
from app.db.webhooks import Webhook, WebhookAttempt, WebhookDelivery
from app.deliverer import MOST_OF_ONE_PROJECT, Deliverer
from app.outbound.post import Poster
from app.services import webhooks
from tests.jobs import PROJECT_ID, claimed, queued
from tests.unit.app.receiver import receive

PEPPER = b"p" * 32
LOOPBACK = [ip_network("127.0.0.1/32")]
TAKEN = Outcome(seconds=0.1, status=204, answer="", error=None)
REFUSED = Outcome(seconds=0.1, status=500, answer="", error="the receiver answered 500")
GONE = Outcome(seconds=0.1, status=410, answer="", error="the receiver answered 410")
MANY = 70_000
"""More than PostgreSQL takes parameters in one statement."""


class Undone(Exception):
    """Raised to undo a transaction."""


def add(database: Database, url: str = "https://hooks.example.com/", *types: str) -> str:
    """Add a webhook of the project and return its id."""
    with database.write() as session:
        row = Webhook(
            id=f"webhook-{uuid7()}",
            project_id=PROJECT_ID,
            url=url,
            event_types=list(types or OF_JOBS),
            secret_number=1,
            num_claims=0,
            created_at=database_now(session),
        )
        session.add(row)
        return row.id


def written(database: Database) -> list[WebhookDelivery]:
    with database.read() as session:
        return list(session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.id)))


def take(database: Database) -> Claim | None:
    with database.write() as session:
        return deliveries.claim(session, [])


def attempt(database: Database, outcome: Outcome) -> WebhookDelivery:
    """Claim what is due, end it so, and give it as it is then."""
    claim = take(database)
    assert claim is not None
    with database.write() as session:
        assert deliveries.finish(session, claim, outcome)
    with database.read() as session:
        return session.get_one(WebhookDelivery, claim.delivery_id)


def make_due(database: Database) -> datetime:
    """Let all that waits be due now."""
    with database.write() as session:
        now = database_now(session)
        session.execute(
            update(WebhookDelivery)
            .where(WebhookDelivery.status == "pending")
            .values(next_attempt_at=now)
        )
        return now


def webhook(database: Database, webhook_id: str) -> Webhook:
    with database.read() as session:
        return session.get_one(Webhook, webhook_id)


@contextmanager
def delivering(database: Database, number: int = 1) -> Iterator[None]:
    """Run deliverers until the block ends."""
    stop = threading.Event()

    def run() -> None:
        deliverer = Deliverer(database, PEPPER, Poster(LOOPBACK))
        while not stop.is_set():
            deliverer.is_wanted.clear()
            deliverer.tick()
            deliverer.is_wanted.wait(0.02)
        deliverer.close()

    with ThreadPoolExecutor(number) as threads:
        running = [threads.submit(run) for _ in range(number)]
        try:
            yield
        finally:
            stop.set()
    for one in running:
        one.result()


def until_all_have(database: Database, status: str) -> None:
    give_up = time.monotonic() + 60
    while {one.status for one in written(database)} != {status}:
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_an_event_and_its_delivery_are_committed_together_or_not_at_all(
    database: Database,
) -> None:
    add(database)
    job_id = queued(database)
    assert [one.event_type for one in written(database)] == ["distillation.job.created"]

    def cancel_and_undo() -> None:
        with database.write() as session:
            wishes.cancel(session, lifecycle.lock(session, job_id), kill=False)
            assert session.execute(select(func.count(WebhookDelivery.id))).scalar_one() == 2
            raise Undone

    with pytest.raises(Undone):
        cancel_and_undo()
    assert len(written(database)) == 1

    with database.write() as session:
        wishes.cancel(session, lifecycle.lock(session, job_id), kill=False)
    assert [one.event_type for one in written(database)][1:] == ["distillation.job.cancelled"]


def test_a_delivery_follows_the_table_of_waits_and_then_has_failed(database: Database) -> None:
    webhook_id = add(database, "https://hooks.example.com/", "distillation.job.created")
    queued(database)
    for wait in RETRY_SECONDS:
        row = attempt(database, REFUSED)
        assert take(database) is None
        assert row.next_attempt_at is not None
        with database.read() as session:
            waits = (row.next_attempt_at - database_now(session)).total_seconds()
        assert wait * (1 - JITTER) - 5 <= waits <= wait * (1 + JITTER)
        make_due(database)
    row = attempt(database, REFUSED)
    assert (row.status, row.num_attempts) == ("failed", len(RETRY_SECONDS) + 1)
    with database.read() as session:
        numbers = session.scalars(select(WebhookAttempt.number).order_by(WebhookAttempt.number))
        assert list(numbers) == list(range(1, 11))
    assert webhook(database, webhook_id).disabled_reason is None


def test_waits_differ_so_that_a_receiver_that_comes_back_is_not_overrun(
    sqlite_database: Database,
) -> None:
    add(sqlite_database, "https://hooks.example.com/", "distillation.job.created")
    for _ in range(20):
        queued(sqlite_database)
    rows = [attempt(sqlite_database, REFUSED) for _ in range(20)]
    waits = [row.next_attempt_at - row.created_at for row in rows if row.next_attempt_at]
    assert len({round(wait.total_seconds(), 2) for wait in waits}) > 5


def test_a_receiver_that_is_gone_or_fails_for_five_days_is_sent_nothing_more(
    database: Database,
) -> None:
    gone, failing = add(database), add(database)
    tells = add(database, "https://hooks.example.com/", "webhook.disabled")
    queued(database)
    assert attempt(database, GONE).status == "failed"
    attempt(database, REFUSED)
    assert webhook(database, gone).disabled_reason == "gone"
    assert webhook(database, failing).disabled_reason is None
    with database.write() as session:
        long_ago = database_now(session) - deliveries.PATIENCE + timedelta(minutes=1)
        session.get_one(Webhook, failing).failing_since = long_ago
    make_due(database)
    told = [one for one in written(database) if one.webhook_id == tells]
    assert len(told) == 1
    assert attempt(database, TAKEN).webhook_id == tells
    attempt(database, REFUSED)
    assert webhook(database, failing).disabled_reason is None

    with database.write() as session:
        session.get_one(Webhook, failing).failing_since = long_ago - timedelta(minutes=1)
    make_due(database)
    assert attempt(database, REFUSED).status == "pending"
    assert webhook(database, failing).disabled_reason == "failing"
    make_due(database)
    told = [one for one in written(database) if one.webhook_id == tells]
    assert ['"reason":"gone"' in told[0].body, '"reason":"failing"' in told[1].body] == [True] * 2
    number = len(written(database))
    queued(database)
    assert len(written(database)) == number


def test_a_success_makes_the_days_of_failing_count_anew(database: Database) -> None:
    webhook_id = add(database)
    queued(database)
    attempt(database, REFUSED)
    assert webhook(database, webhook_id).failing_since is not None
    make_due(database)
    assert attempt(database, TAKEN).finished_at is not None
    assert webhook(database, webhook_id).failing_since is None


def test_a_claim_is_of_one_deliverer_until_it_runs_out_and_then_the_late_one_says_nothing(
    database: Database,
) -> None:
    webhook_id = add(database)
    queued(database)
    queued(database)
    first = take(database)
    assert first is not None
    assert take(database) is None
    with database.write() as session:
        held = session.get_one(Webhook, webhook_id)
        assert held.claimed_until is not None
        held.claimed_until = database_now(session)
    second = take(database)
    assert second is not None
    assert second.delivery_id == first.delivery_id
    with database.write() as session:
        assert not deliveries.finish(session, first, REFUSED)
        assert deliveries.finish(session, second, TAKEN)
    assert [one.status for one in written(database)] == ["succeeded", "pending"]


def test_a_webhook_is_deleted_however_many_deliveries_it_has(postgres_database: Database) -> None:
    database = postgres_database
    webhook_id, other = add(database), add(database)
    queued(database)
    _multiply(database, webhook_id)
    attempt(database, REFUSED)

    webhooks.delete(database, PROJECT_ID, webhook_id)
    assert {one.webhook_id for one in written(database)} == {other}


def _multiply(database: Database, webhook_id: str) -> None:
    """Make more of a webhook's one delivery, many enough for any list in a statement."""
    numbers = select(literal(1).label("number")).cte(recursive=True)
    numbers = numbers.union_all(select(numbers.c.number + 1).where(numbers.c.number < MANY))
    columns: dict[str, ColumnElement[Any]] = {
        column.name: column for column in WebhookDelivery.__table__.c
    }
    columns["id"] = literal("delivery-") + numbers.c.number.cast(String)
    more = select(*columns.values()).join_from(WebhookDelivery, numbers, true())
    more = more.where(WebhookDelivery.webhook_id == webhook_id)
    with database.write() as session:
        session.execute(insert(WebhookDelivery).from_select([*columns], more))


def test_a_webhook_deleted_while_it_is_sent_to_leaves_nothing(database: Database) -> None:
    webhook_id = add(database)
    queued(database)
    claim = take(database)
    assert claim is not None
    webhooks.delete(database, PROJECT_ID, webhook_id)
    with database.write() as session:
        assert not deliveries.finish(session, claim, TAKEN)
    assert written(database) == []


def test_deliveries_are_removed_after_thirty_days(database: Database) -> None:
    add(database)
    for _ in range(2):
        queued(database)
        attempt(database, TAKEN)
    with database.write() as session:
        old = session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.id)).first()
        assert old is not None
        old.created_at = database_now(session) - deliveries.KEPT_FOR - timedelta(minutes=1)
    Deliverer(database, PEPPER, Poster()).tick()
    (left,) = written(database)
    with database.read() as session:
        assert session.scalars(select(WebhookAttempt.delivery_id)).all() == [left.id]


def test_several_deliverers_send_each_event_once_and_a_receiver_s_in_order(
    database: Database,
) -> None:
    with receive() as one, receive() as other:
        for receiver in (one, other):
            add(database, receiver.url, "distillation.job.created")
        for _ in range(15):
            queued(database)
        with delivering(database, number=3):
            until_all_have(database, "succeeded")
        for receiver in (one, other):
            ids = [got.headers["webhook-id"] for got in receiver.received]
            sent = [row.event_id for row in written(database) if row.event_id in ids]
            assert len(ids) == len(set(ids)) == 15
            assert ids == sorted(ids)
            assert set(sent) == set(ids)


def test_a_slow_receiver_holds_up_nobody_else(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.outbound.post.TOTAL_SECONDS", 300)
    database = sqlite_database
    with receive() as slow, receive() as quick:
        slow.may_answer.clear()
        add(database, slow.url, "distillation.job.created")
        add(database, quick.url, "distillation.job.created")
        for _ in range(5):
            queued(database)
        with delivering(database):
            give_up = time.monotonic() + 60
            while len(quick.received) < 5:
                assert time.monotonic() < give_up
                time.sleep(0.02)
            assert len(slow.received) == 1
            slow.may_answer.set()
            until_all_have(database, "succeeded")


def test_a_project_whose_receivers_are_all_slow_leaves_room_for_others(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.outbound.post.TOTAL_SECONDS", 300)
    database = sqlite_database
    with receive() as slow, receive() as quick:
        slow.may_answer.clear()
        for _ in range(MOST_OF_ONE_PROJECT + 4):
            add(database, slow.url, "distillation.job.created")
        queued(database)
        with delivering(database):
            give_up = time.monotonic() + 60
            while len(slow.received) < MOST_OF_ONE_PROJECT:
                assert time.monotonic() < give_up
                time.sleep(0.02)
            theirs = _of_another_project(database, quick.url)
            while not quick.received:
                assert time.monotonic() < give_up
                time.sleep(0.02)
            assert len(slow.received) == MOST_OF_ONE_PROJECT
            slow.may_answer.set()
            until_all_have(database, "succeeded")
    assert theirs in {one.webhook_id for one in written(database)}


def _of_another_project(database: Database, url: str) -> str:
    """Add another project with a webhook that waits for a test event; return its id."""
    webhook_id = add(database, url)
    with database.write() as session:
        now = database_now(session)
        session.add(Project(id="project-2", name="other", created_at=now))
        session.flush()
        session.get_one(Webhook, webhook_id).project_id = "project-2"
    webhooks.send_test(database, "project-2", webhook_id)
    return webhook_id


def test_a_webhook_deleted_while_events_are_written_fails_no_job(
    postgres_database: Database,
) -> None:
    database = postgres_database
    stop = threading.Event()

    def set_up_and_delete() -> None:
        while not stop.is_set():
            webhooks.delete(database, PROJECT_ID, add(database))

    with ThreadPoolExecutor(3) as threads:
        churning = [threads.submit(set_up_and_delete) for _ in range(2)]
        try:
            for _ in range(30):
                queued(database)
                claimed(database)
        finally:
            stop.set()
        for one in churning:
            one.result()
    with database.read() as session:
        assert session.execute(select(func.count(Job.id))).scalar_one() == 30
    assert written(database) == []
