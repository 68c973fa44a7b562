"""Events for the world outside: deliveries written in the transaction of what they tell of."""

import json
from collections.abc import Sequence
from datetime import datetime

from pydantic import JsonValue
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from app.db.models import Job
from app.db.webhooks import Webhook, WebhookDelivery

PUBLISHED = {
    "job.created": ("distillation.job.created",),
    "job.claimed": ("distillation.job.running",),
    "job.paused": ("distillation.job.paused",),
    "job.succeeded": ("distillation.job.succeeded", "fine_tuning.job.succeeded"),
    "job.failed": ("distillation.job.failed", "fine_tuning.job.failed"),
    "job.cancelled": ("distillation.job.cancelled", "fine_tuning.job.cancelled"),
}
"""A job's events that are told outside, and as what."""

# Built once. Held, so that none is deleted before its deliveries are committed; changes may go on.
_PROJECT_ID = "project_id"
_LIVE = (
    select(Webhook.id, Webhook.event_types)
    .where(Webhook.project_id == bindparam(_PROJECT_ID), Webhook.disabled_reason.is_(None))
    .order_by(Webhook.id)
    .with_for_update(read=True, key_share=True)
)


def publish_job(session: Session, job: Job, event_type: str, now: datetime) -> None:
    """Queue what is to be told of a job's event, as the job is now."""
    types = PUBLISHED.get(event_type, ())
    if not types:
        return
    data: dict[str, JsonValue] = {
        "id": job.id,
        "object": "distillation.job",
        "name": job.name,
        "status": job.status,
        "attempt": job.attempt,
        "event_number": job.num_events,
        "metadata": job.labels,
        "error": job.error,
    }
    publish(session, job.project_id, types, data, now)


def publish(
    session: Session,
    project_id: str,
    types: Sequence[str],
    data: dict[str, JsonValue],
    now: datetime,
) -> None:
    """Queue an event, under each of its types, for the project's webhooks that subscribe to it."""
    webhooks = session.connection().execute(_LIVE, {_PROJECT_ID: project_id}).all()
    if not webhooks:
        return
    for name in types:
        message = message_of(name, data, now)
        subscribed = [webhook_id for webhook_id, event_types in webhooks if name in event_types]
        session.add_all(delivery(project_id, each, name, message, now) for each in subscribed)
    session.flush()


def message_of(event_type: str, data: dict[str, JsonValue], now: datetime) -> dict[str, JsonValue]:
    """Shape an event as both Standard Webhooks and OpenAI's clients know it."""
    return {
        "id": f"event-{uuid7()}",
        "object": "event",
        "type": event_type,
        "created_at": int(now.timestamp()),
        "timestamp": now.isoformat(),
        "data": data,
    }


def delivery(
    project_id: str,
    webhook_id: str,
    event_type: str,
    message: dict[str, JsonValue],
    now: datetime,
) -> WebhookDelivery:
    """Make a delivery that is due at once."""
    return WebhookDelivery(
        id=f"delivery-{uuid7()}",
        project_id=project_id,
        webhook_id=webhook_id,
        event_id=message["id"],
        event_type=event_type,
        body=json.dumps(message, separators=(",", ":"), ensure_ascii=False),
        status="pending",
        num_attempts=0,
        num_failures=0,
        next_attempt_at=now,
        created_at=now,
    )
