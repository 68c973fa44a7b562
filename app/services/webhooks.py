"""Webhooks: set up, changed, tried out, and what became of their deliveries."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from app.contracts.registry import Page
from app.contracts.webhooks import (
    TEST,
    Delivery,
    DeliveryAttempt,
    DeliveryStatus,
    NewWebhook,
    Rotation,
    Webhook,
    WebhookChanges,
    WebhookWithSecret,
)
from app.db import deliveries, outbox
from app.db.models import Project
from app.db.session import Database, database_now
from app.db.webhooks import Webhook as WebhookRow
from app.db.webhooks import WebhookAttempt, WebhookDelivery
from app.errors import Conflict, InvalidPayload, Problem
from app.outbound.targets import Networks, UnsafeTarget, read_target
from app.services import audit
from app.services.ownership import ends, find, find_to_change, newest, owned
from app.services.signatures import secret_of

MOST_WEBHOOKS = 20
"""Of one project."""


def create(
    database: Database, pepper: bytes, private: Networks, project_id: str, new: NewWebhook
) -> WebhookWithSecret:
    """Set up a webhook; its secret is in the answer and nowhere else.

    Raises:
        InvalidPayload: The URL is not one that is sent to.
        Conflict: The project has ``MOST_WEBHOOKS`` already.
    """
    _check_url(new.url, private)
    with database.write() as session:
        # One at a time, so that two at once do not pass the limit together.
        held = select(Project.id).where(Project.id == project_id)
        session.execute(held.with_for_update(key_share=True))
        number = select(func.count()).where(WebhookRow.project_id == project_id)
        if session.execute(number).scalar_one() >= MOST_WEBHOOKS:
            raise Conflict(f"the project has {MOST_WEBHOOKS} webhooks, the most; delete one first")
        row = WebhookRow(
            id=f"webhook-{uuid7()}",
            project_id=project_id,
            url=new.url,
            description=new.description,
            event_types=new.event_types,
            secret_number=1,
            num_claims=0,
            created_at=database_now(session),
        )
        session.add(row)
        session.flush()
        audit.note(session, project_id, "webhook.create", row.id)
        return _with_secret(row, pepper)


def list_webhooks(
    database: Database, project_id: str, after: str | None, limit: int
) -> Page[Webhook]:
    with database.read() as session:
        query = owned(WebhookRow, project_id)
        rows, has_more = newest(session, query, WebhookRow, after, limit)
    data = [_view(row) for row in rows]
    return Page[Webhook](data=data, has_more=has_more, **ends([one.id for one in data]))


def read(database: Database, project_id: str, webhook_id: str) -> Webhook:
    with database.read() as session:
        return _view(find(session, WebhookRow, project_id, webhook_id))


def change(
    database: Database,
    private: Networks,
    project_id: str,
    webhook_id: str,
    changes: WebhookChanges,
) -> Webhook:
    """Change a webhook; deliveries that wait go to the new URL.

    Raises:
        InvalidPayload: The URL is not one that is sent to.
    """
    if changes.url is not None:
        _check_url(changes.url, private)
    with database.write() as session:
        row = find_to_change(session, WebhookRow, project_id, webhook_id)
        for name, value in changes.model_dump(exclude={"enabled"}, exclude_none=True).items():
            setattr(row, name, value)
        if changes.enabled:
            row.disabled_reason = row.failing_since = None
        elif changes.enabled is not None:
            row.disabled_reason = row.disabled_reason or "client"
        audit.note(session, project_id, "webhook.update", webhook_id)
        return _view(row)


def delete(database: Database, project_id: str, webhook_id: str) -> None:
    """Delete a webhook with its deliveries; what waits is not sent."""
    with database.write() as session:
        row = find_to_change(session, WebhookRow, project_id, webhook_id)
        deliveries.remove(session, WebhookDelivery.webhook_id == row.id)
        session.delete(row)
        audit.note(session, project_id, "webhook.delete", webhook_id)


def rotate(
    database: Database, pepper: bytes, project_id: str, webhook_id: str, rotation: Rotation
) -> WebhookWithSecret:
    """Change to a new secret; the one of before signs as well for a while, older ones not."""
    with database.write() as session:
        row = find_to_change(session, WebhookRow, project_id, webhook_id)
        overlap = timedelta(seconds=rotation.overlap_seconds)
        row.secret_number += 1
        row.previous_secret_until = database_now(session) + overlap
        audit.note(session, project_id, "webhook.rotate", webhook_id)
        return _with_secret(row, pepper)


def send_test(database: Database, project_id: str, webhook_id: str) -> Delivery:
    """Queue an event of the type ``webhook.test``, attempted once.

    Raises:
        Conflict: The webhook is disabled.
    """
    with database.write() as session:
        row = find_to_change(session, WebhookRow, project_id, webhook_id)
        _require_enabled(row)
        now = database_now(session)
        message = outbox.message_of(TEST, {"id": row.id, "object": "webhook"}, now)
        delivery = outbox.delivery(project_id, row.id, TEST, message, now)
        session.add(delivery)
        session.flush()
        audit.note(session, project_id, "webhook.test", webhook_id)
        return _delivery_views(session, [delivery])[0]


def list_deliveries(
    database: Database,
    project_id: str,
    webhook_id: str,
    status: DeliveryStatus | None,
    after: str | None,
    *,
    limit: int,
) -> Page[Delivery]:
    """List what was and is to be sent to a webhook in the last 30 days, newest first."""
    with database.read() as session:
        webhook = find(session, WebhookRow, project_id, webhook_id)
        query = owned(WebhookDelivery, project_id).where(WebhookDelivery.webhook_id == webhook.id)
        if status is not None:
            query = query.where(WebhookDelivery.status == status)
        rows, has_more = newest(session, query, WebhookDelivery, after, limit)
        data = _delivery_views(session, rows)
    return Page[Delivery](data=data, has_more=has_more, **ends([one.id for one in data]))


def read_delivery(
    database: Database, project_id: str, webhook_id: str, delivery_id: str
) -> Delivery:
    with database.read() as session:
        webhook = find(session, WebhookRow, project_id, webhook_id)
        row = _delivery_of(session, project_id, webhook, delivery_id)
        return _delivery_views(session, [row])[0]


def redeliver(database: Database, project_id: str, webhook_id: str, delivery_id: str) -> Delivery:
    """Send a delivery again at once, whatever became of it; its retries begin anew.

    Raises:
        Conflict: The webhook is disabled.
    """
    with database.write() as session:
        # Locked first, as the deliverers do.
        webhook = find_to_change(session, WebhookRow, project_id, webhook_id)
        _require_enabled(webhook)
        row = _delivery_of(session, project_id, webhook, delivery_id)
        now = database_now(session)
        row.status, row.num_failures = "pending", 0
        row.next_attempt_at, row.finished_at = now, None
        session.flush()
        audit.note(session, project_id, "webhook.redeliver", delivery_id)
        return _delivery_views(session, [row])[0]


def _delivery_of(
    session: Session, project_id: str, webhook: WebhookRow, delivery_id: str
) -> WebhookDelivery:
    of_webhook = WebhookDelivery.webhook_id == webhook.id
    return find(session, WebhookDelivery, project_id, delivery_id, of_webhook)


def _check_url(url: str, private: Networks) -> None:
    try:
        read_target(url, private)
    except UnsafeTarget as unsafe:
        raise InvalidPayload([Problem("/url", "unsafe_url", str(unsafe))]) from None


def _require_enabled(row: WebhookRow) -> None:
    if row.disabled_reason is not None:
        raise Conflict(
            f"the webhook is disabled ({row.disabled_reason}); enable it first with PATCH "
            '{"enabled": true}'
        )


def _with_secret(row: WebhookRow, pepper: bytes) -> WebhookWithSecret:
    secret = secret_of(pepper, row.id, row.secret_number)
    return WebhookWithSecret(**_view(row).model_dump(), secret=secret)


def _view(row: WebhookRow) -> Webhook:
    return Webhook.model_validate(
        {
            **{name: getattr(row, name) for name in _SHOWN},
            "enabled": row.disabled_reason is None,
        }
    )


_SHOWN = Webhook.model_fields.keys() - {"object", "enabled"}


def _delivery_views(session: Session, rows: Sequence[WebhookDelivery]) -> list[Delivery]:
    attempts: dict[str, list[DeliveryAttempt]] = {}
    for row in session.scalars(
        select(WebhookAttempt)
        .where(WebhookAttempt.delivery_id.in_([row.id for row in rows]))
        .order_by(WebhookAttempt.number)
    ):
        attempt = DeliveryAttempt.model_validate(row, from_attributes=True)
        attempts.setdefault(row.delivery_id, []).append(attempt)
    shown = Delivery.model_fields.keys() - {"object", "attempts"}
    return [
        Delivery.model_validate(
            {
                **{name: getattr(row, name) for name in shown},
                "attempts": attempts.get(row.id, []),
            }
        )
        for row in rows
    ]
