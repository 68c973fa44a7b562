"""Webhooks of the caller's project, and their deliveries."""

from fastapi import APIRouter

from app.access import JobsReader, JobsWriter, Service
from app.contracts.registry import Page
from app.contracts.webhooks import (
    Delivery,
    DeliveryStatus,
    NewWebhook,
    Rotation,
    Webhook,
    WebhookChanges,
    WebhookWithSecret,
)
from app.listing import After, Limit
from app.services import webhooks

router = APIRouter(prefix="/v1/webhooks", tags=["Webhooks"])


@router.post("", summary="Make a webhook", status_code=201)
def create_webhook(body: NewWebhook, caller: JobsWriter, service: Service) -> WebhookWithSecret:
    """Have events sent to a URL; the secret is in this answer and nowhere else."""
    return webhooks.create(
        service.database, service.pepper, service.webhook_networks, caller.project_id, body
    )


@router.get("", summary="List webhooks, newest first")
def list_webhooks(
    caller: JobsReader, service: Service, after: After = None, limit: Limit = 20
) -> Page[Webhook]:
    """List the project's webhooks, disabled ones too, without their secrets."""
    return webhooks.list_webhooks(service.database, caller.project_id, after, limit)


@router.get("/{webhook_id}", summary="Read a webhook")
def read_webhook(webhook_id: str, caller: JobsReader, service: Service) -> Webhook:
    """Read a webhook, and whether it is enabled or why not."""
    return webhooks.read(service.database, caller.project_id, webhook_id)


@router.patch("/{webhook_id}", summary="Change a webhook")
def change_webhook(
    webhook_id: str, body: WebhookChanges, caller: JobsWriter, service: Service
) -> Webhook:
    """Change what is given; while disabled, events that happen are not kept for it."""
    return webhooks.change(
        service.database, service.webhook_networks, caller.project_id, webhook_id, body
    )


@router.delete("/{webhook_id}", summary="Delete a webhook", status_code=204)
def delete_webhook(webhook_id: str, caller: JobsWriter, service: Service) -> None:
    """Delete a webhook with its deliveries; what waits is not sent."""
    webhooks.delete(service.database, caller.project_id, webhook_id)


@router.post("/{webhook_id}/rotate", summary="Change a webhook's secret")
def rotate_webhook_secret(
    webhook_id: str, caller: JobsWriter, service: Service, body: Rotation | None = None
) -> WebhookWithSecret:
    """Make a new secret, shown once; for a while deliveries are signed with both."""
    return webhooks.rotate(
        service.database, service.pepper, caller.project_id, webhook_id, body or Rotation()
    )


@router.post("/{webhook_id}/test", summary="Try a webhook out", status_code=201)
def send_test_event(webhook_id: str, caller: JobsWriter, service: Service) -> Delivery:
    """Send an event of the type `webhook.test`, once; read the delivery to see how it went."""
    return webhooks.send_test(service.database, caller.project_id, webhook_id)


@router.get("/{webhook_id}/deliveries", summary="List deliveries, newest first")
def list_deliveries(
    webhook_id: str,
    caller: JobsReader,
    service: Service,
    status: DeliveryStatus | None = None,
    after: After = None,
    limit: Limit = 20,
) -> Page[Delivery]:
    """List what was sent in the last 30 days and what waits, with every attempt."""
    return webhooks.list_deliveries(
        service.database, caller.project_id, webhook_id, status, after, limit=limit
    )


@router.get("/{webhook_id}/deliveries/{delivery_id}", summary="Read a delivery")
def read_delivery(
    webhook_id: str, delivery_id: str, caller: JobsReader, service: Service
) -> Delivery:
    """Read what is sent and how each attempt went."""
    return webhooks.read_delivery(service.database, caller.project_id, webhook_id, delivery_id)


@router.post("/{webhook_id}/deliveries/{delivery_id}/redeliver", summary="Send a delivery again")
def redeliver(webhook_id: str, delivery_id: str, caller: JobsWriter, service: Service) -> Delivery:
    """Send the same bytes again, under the same `webhook-id`, whatever became of them."""
    return webhooks.redeliver(service.database, caller.project_id, webhook_id, delivery_id)
