"""What a deliverer does to deliveries: claim one, say how it went, remove old ones.

A claim is of the webhook, not of the delivery: a receiver is sent one thing at a time, in order,
however many deliverers there are, and one that is slow holds up nobody else.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import SystemRandom

from pydantic import JsonValue
from sqlalchemy import ColumnElement, delete, exists, or_, select
from sqlalchemy.orm import Session

from app.contracts.webhooks import TEST
from app.db.outbox import publish
from app.db.session import database_now
from app.db.webhooks import Webhook, WebhookAttempt, WebhookDelivery

RETRY_SECONDS = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""The waits after each failure, as Standard Webhooks recommends; then the delivery has failed."""
JITTER = 0.1
"""By which share of itself a wait may be shorter or longer."""
CLAIM = timedelta(seconds=60)
"""How long a deliverer may be silent before another sends the same again."""
PATIENCE = timedelta(days=5)
"""How long a receiver may fail, with no success between, before it is sent nothing more."""
KEPT_FOR = timedelta(days=30)
MOST_REMOVED = 500

GONE = 410
_random = SystemRandom()


@dataclass(frozen=True)
class Claim:
    """A delivery that one deliverer may attempt now."""

    webhook_id: str
    project_id: str
    number: int
    delivery_id: str
    url: str
    event_id: str
    body: str
    secret_numbers: tuple[int, ...]
    """The live secrets, the newest first."""


@dataclass(frozen=True)
class Outcome:
    """How an attempt went; ``error`` is None where the receiver has taken it."""

    seconds: float
    status: int | None
    answer: str | None
    error: str | None


def is_any_due(session: Session) -> bool:
    """Tell, without a lock, whether a claim would find something."""
    due = select(Webhook.id).where(*_free_and_due(database_now(session)))
    return session.scalar(due.limit(1)) is not None


def claim(session: Session, busy_projects: Iterable[str]) -> Claim | None:
    """Take the next delivery of the webhook that has waited longest, or None where none is due.

    Args:
        session: Of a transaction that writes.
        busy_projects: Those that have as much under way as they may.
    """
    now = database_now(session)
    webhook = session.scalar(
        select(Webhook)
        .where(*_free_and_due(now), Webhook.project_id.not_in(list(busy_projects)))
        .order_by(Webhook.claimed_until.asc().nulls_first(), Webhook.id)
        .limit(1)
        .with_for_update(skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    )
    if webhook is None:
        return None
    # Another deliverer may have sent it between this query's snapshot and its lock.
    due = session.scalar(
        select(WebhookDelivery)
        .where(WebhookDelivery.webhook_id == webhook.id, *_due(now))
        .order_by(WebhookDelivery.next_attempt_at, WebhookDelivery.id)
        .limit(1)
    )
    if due is None:
        return None
    webhook.num_claims += 1
    webhook.claimed_until = now + CLAIM
    both = webhook.previous_secret_until is not None and webhook.previous_secret_until > now
    newest = webhook.secret_number
    return Claim(
        webhook_id=webhook.id,
        project_id=webhook.project_id,
        number=webhook.num_claims,
        delivery_id=due.id,
        url=webhook.url,
        event_id=due.event_id,
        body=due.body,
        secret_numbers=(newest, newest - 1) if both else (newest,),
    )


def finish(session: Session, claimed: Claim, outcome: Outcome) -> bool:
    """Note how an attempt went and let go of its webhook.

    Returns:
        False where it is nobody's concern any more: the webhook or the delivery is deleted, or
        another deliverer has made a claim since.
    """
    webhook = session.scalar(
        select(Webhook)
        .where(Webhook.id == claimed.webhook_id, Webhook.num_claims == claimed.number)
        .with_for_update(key_share=True)
    )
    if webhook is None:
        return False
    now = database_now(session)
    webhook.claimed_until = now
    row = session.get(WebhookDelivery, claimed.delivery_id, populate_existing=True)
    if row is None:
        return False
    row.num_attempts += 1
    session.add(
        WebhookAttempt(
            delivery_id=row.id,
            number=row.num_attempts,
            started_at=now - timedelta(seconds=outcome.seconds),
            seconds=outcome.seconds,
            response_status=outcome.status,
            answer=outcome.answer,
            error=outcome.error,
        )
    )
    if outcome.error is None:
        _end(row, "succeeded", now)
        webhook.failing_since = None
    else:
        _note_failure(session, webhook, row, outcome, now)
    return True


def remove_old(session: Session) -> int:
    """Remove deliveries older than ``KEPT_FOR``, some at a time; return how many."""
    before = database_now(session) - KEPT_FOR
    old = select(WebhookDelivery.id).where(WebhookDelivery.created_at < before)
    ids = session.scalars(old.limit(MOST_REMOVED).with_for_update(skip_locked=True)).all()
    remove(session, WebhookDelivery.id.in_(ids))
    return len(ids)


def remove(session: Session, which: ColumnElement[bool]) -> None:
    """Remove deliveries, however many, with their attempts."""
    # Locked before their attempts: two that remove the same would else wait for each other.
    ids = select(WebhookDelivery.id).where(which).with_for_update()
    of_these = WebhookAttempt.delivery_id.in_(ids)
    for statement in (delete(WebhookAttempt).where(of_these), delete(WebhookDelivery).where(which)):
        session.execute(statement, execution_options={"synchronize_session": False})


def _due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return WebhookDelivery.status == "pending", WebhookDelivery.next_attempt_at <= now


def _free_and_due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        Webhook.disabled_reason.is_(None),
        or_(Webhook.claimed_until.is_(None), Webhook.claimed_until <= now),
        exists().where(WebhookDelivery.webhook_id == Webhook.id, *_due(now)),
    )


def _note_failure(
    session: Session, webhook: Webhook, row: WebhookDelivery, outcome: Outcome, now: datetime
) -> None:
    row.num_failures += 1
    is_test = row.event_type == TEST
    if is_test or outcome.status == GONE or row.num_failures > len(RETRY_SECONDS):
        _end(row, "failed", now)
    else:
        wait = RETRY_SECONDS[row.num_failures - 1] * _random.uniform(1 - JITTER, 1 + JITTER)
        row.next_attempt_at = now + timedelta(seconds=wait)
    if outcome.status == GONE:
        _disable(session, webhook, "gone", now)
    elif not is_test:
        webhook.failing_since = webhook.failing_since or now
        if now - webhook.failing_since >= PATIENCE:
            _disable(session, webhook, "failing", now)


def _disable(session: Session, webhook: Webhook, reason: str, now: datetime) -> None:
    """Send a webhook nothing more, and tell the project's others that want to know."""
    if webhook.disabled_reason is None:
        webhook.disabled_reason = reason
        session.flush()
        # Without the URL, which may carry a secret of its receiver.
        data: dict[str, JsonValue] = {"id": webhook.id, "object": "webhook", "reason": reason}
        publish(session, webhook.project_id, ["webhook.disabled"], data, now)


def _end(row: WebhookDelivery, status: str, now: datetime) -> None:
    row.status, row.next_attempt_at, row.finished_at = status, None, now
