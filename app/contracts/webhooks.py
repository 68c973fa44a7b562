"""Webhooks: what a client sends to set one up, and what it is told of its deliveries."""

from datetime import datetime
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, Field

from app.contracts.strict import Strict

EventType = Literal[
    "distillation.job.created",
    "distillation.job.running",
    "distillation.job.paused",
    "distillation.job.succeeded",
    "distillation.job.failed",
    "distillation.job.cancelled",
    "fine_tuning.job.succeeded",
    "fine_tuning.job.failed",
    "fine_tuning.job.cancelled",
    "webhook.disabled",
]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)
OF_JOBS = [name for name in EVENT_TYPES if name.startswith("distillation.")]
TEST = "webhook.test"
"""The type of what a client asks for itself; nobody has to subscribe to it."""

DAY_SECONDS = 24 * 3600
LONGEST_OVERLAP_SECONDS = 7 * DAY_SECONDS

DeliveryStatus = Literal["pending", "succeeded", "failed"]
DisabledReason = Literal["client", "gone", "failing"]


def _once_each(names: list[EventType]) -> list[EventType]:
    return list(dict.fromkeys(names))


WebhookUrl = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2048,
        description="Where to send events: `https`, a public host, port 443 or 8443; no user, no "
        "fragment. An operator may allow private networks, and there `http` and any port.",
    ),
]
EventTypes = Annotated[
    list[EventType], Field(min_length=1, max_length=100), AfterValidator(_once_each)
]
Description = Annotated[str, Field(max_length=500)]


class NewWebhook(Strict):
    """A webhook to be made."""

    url: WebhookUrl
    event_types: EventTypes = Field(
        default=OF_JOBS, description="Which events to send; all of jobs where not given."
    )
    description: Description | None = None


class WebhookChanges(Strict):
    """What to change of a webhook; what is not given, or null, stays."""

    url: WebhookUrl | None = None
    event_types: EventTypes | None = None
    description: Description | None = None
    enabled: bool | None = Field(
        None, description="Where `true`, what waits goes out, and failures count anew."
    )


class Rotation(Strict):
    """How to change to a new secret."""

    overlap_seconds: int = Field(
        DAY_SECONDS,
        ge=0,
        le=LONGEST_OVERLAP_SECONDS,
        description="For how long deliveries are signed with the secret of before as well.",
    )


class Webhook(BaseModel):
    """A receiver of events, without its secret."""

    object: Literal["webhook"] = "webhook"
    id: str
    url: str
    event_types: list[str]
    description: str | None
    enabled: bool
    disabled_reason: DisabledReason | None = Field(
        description="`client` asked for it; `gone`, the receiver answered 410; `failing`, every "
        "attempt has failed for five days."
    )
    failing_since: datetime | None = Field(
        description="The first of the failures that no success has followed."
    )
    previous_secret_until: datetime | None = Field(
        description="Until when deliveries carry a signature of the secret of before as well."
    )
    created_at: datetime


class WebhookWithSecret(Webhook):
    """A webhook with a secret just made: the only time that it is shown."""

    secret: str = Field(description="`whsec_` and 32 bytes in base64, for Standard Webhooks.")


class DeliveryAttempt(BaseModel):
    """One request to a receiver, or why there was none."""

    number: int
    started_at: datetime
    seconds: float
    response_status: int | None
    answer: str | None = Field(description="The first KiB of the answer's body.")
    error: str | None = Field(description="Why there was no answer, or why it is no success.")


class Delivery(BaseModel):
    """One event on its way to one receiver."""

    object: Literal["webhook.delivery"] = "webhook.delivery"
    id: str
    webhook_id: str
    event_id: str = Field(description="The header `webhook-id`: the same at every attempt.")
    event_type: str
    status: DeliveryStatus
    next_attempt_at: datetime | None
    created_at: datetime
    finished_at: datetime | None
    body: str = Field(description="What is sent, to the byte.")
    attempts: list[DeliveryAttempt] = Field(description="Oldest first.")
