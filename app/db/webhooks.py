"""Webhooks, and the deliveries that are written in the transaction of the event they tell of."""

from datetime import datetime
from typing import Any, get_args

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.contracts.webhooks import DeliveryStatus, DisabledReason
from app.db.table import Table, one_of


class Webhook(Table):
    """A receiver of events. Its secrets are derived from their numbers and nowhere stored."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    url: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    event_types: Mapped[list[Any]]
    disabled_reason: Mapped[str | None] = mapped_column(String(16))
    failing_since: Mapped[datetime | None]
    secret_number: Mapped[int] = mapped_column(Integer)
    previous_secret_until: Mapped[datetime | None]
    created_at: Mapped[datetime]

    num_claims: Mapped[int] = mapped_column(Integer)
    claimed_until: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(one_of("disabled_reason", list(get_args(DisabledReason))), "reason"),
        Index(None, "project_id", "id"),
    )


class WebhookDelivery(Table):
    """One event on its way to one receiver; ``body`` is what is sent, to the byte."""

    __tablename__ = "webhook_deliveries"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id"))
    event_id: Mapped[str] = mapped_column(String(64))
    event_type: Mapped[str] = mapped_column(String(64))
    body: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16))
    num_attempts: Mapped[int] = mapped_column(Integer)
    # Since it was queued or sent again by hand: how far down the table of waits it is.
    num_failures: Mapped[int] = mapped_column(Integer)
    next_attempt_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(index=True)
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(one_of("status", list(get_args(DeliveryStatus))), "status"),
        CheckConstraint("(status = 'pending') = (next_attempt_at IS NOT NULL)", "due"),
        CheckConstraint("(status = 'pending') = (finished_at IS NULL)", "finished"),
        Index(None, "webhook_id", "id"),
        Index(None, "webhook_id", "status", "next_attempt_at"),
    )


class WebhookAttempt(Table):
    """One request to a receiver, or why there was none."""

    __tablename__ = "webhook_attempts"

    delivery_id: Mapped[str] = mapped_column(ForeignKey("webhook_deliveries.id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    started_at: Mapped[datetime]
    seconds: Mapped[float]
    response_status: Mapped[int | None] = mapped_column(Integer)
    answer: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
