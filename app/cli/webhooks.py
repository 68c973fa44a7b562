"""`stillhouse webhooks`: where events of jobs are sent, and how that went."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from app.cli import options
from app.cli.client import connect, print_json
from app.contracts.registry import Page
from app.contracts.webhooks import Delivery, Webhook, WebhookWithSecret

PATH = "/v1/webhooks"

commands = typer.Typer(help="Where events of jobs are sent.", no_args_is_help=True)
console = Console(soft_wrap=True)

WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its id, as `webhook-...`.")]


@commands.command()
def create(
    target: Annotated[str, typer.Argument(metavar="URL", help="Where to send events: https.")],
    event: Annotated[
        list[str] | None, typer.Option(help="Which; again for more; all of jobs by default.")
    ] = None,
    description: Annotated[str | None, typer.Option()] = None,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Make a webhook and print its id and secret, the secret this once."""
    body = {"url": target, "description": description}
    given = json.dumps(body | ({"event_types": event} if event else {})).encode()
    with connect(url, key_file) as service:
        made = WebhookWithSecret.model_validate_json(service.post(PATH, given).content)
    typer.echo(f"{made.id} {made.secret}")


@commands.command("list")
def list_webhooks(
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    url: options.Url = None,
    key_file: options.KeyFile = None,
    *,
    as_json: options.Json = False,
) -> None:
    """List webhooks, newest first."""
    with connect(url, key_file) as service:
        response = service.get(PATH, limit=limit)
    if as_json:
        print_json(response)
        return
    table = Table(
        Column("webhook", min_width=44), Column("url", overflow="fold"), "state", "events"
    )
    for one in Page[Webhook].model_validate_json(response.content).data:
        state = "enabled" if one.enabled else f"disabled: {one.disabled_reason}"
        table.add_row(one.id, one.url, state, " ".join(one.event_types))
    console.print(table)


@commands.command("test")
def send_test(
    webhook_id: WebhookId, url: options.Url = None, key_file: options.KeyFile = None
) -> None:
    """Send an event that only says hello, and print the id of its delivery."""
    with connect(url, key_file) as service:
        sent = Delivery.model_validate_json(service.post(f"{PATH}/{webhook_id}/test", b"").content)
    typer.echo(sent.id)


@commands.command()
def deliveries(
    webhook_id: WebhookId,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    url: options.Url = None,
    key_file: options.KeyFile = None,
    *,
    as_json: options.Json = False,
) -> None:
    """List what was sent to a webhook and what waits, newest first."""
    with connect(url, key_file) as service:
        response = service.get(f"{PATH}/{webhook_id}/deliveries", limit=limit)
    if as_json:
        print_json(response)
        return
    table = Table(Column("delivery", min_width=45), "event", "status", "attempts", "last answer")
    for one in Page[Delivery].model_validate_json(response.content).data:
        last = one.attempts[-1] if one.attempts else None
        answer = "" if last is None else last.error or str(last.response_status)
        table.add_row(one.id, one.event_type, one.status, str(len(one.attempts)), answer)
    console.print(table)


@commands.command()
def rotate(
    webhook_id: WebhookId,
    overlap_hours: Annotated[
        float, typer.Option(min=0, max=168, help="For which the secret of before signs as well.")
    ] = 24,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Change to a new secret and print it, once."""
    body = json.dumps({"overlap_seconds": round(overlap_hours * 3600)}).encode()
    with connect(url, key_file) as service:
        response = service.post(f"{PATH}/{webhook_id}/rotate", body)
    typer.echo(WebhookWithSecret.model_validate_json(response.content).secret)


@commands.command()
def delete(
    webhook_id: WebhookId, url: options.Url = None, key_file: options.KeyFile = None
) -> None:
    """Delete a webhook; what waits is not sent."""
    with connect(url, key_file) as service:
        service.delete(f"{PATH}/{webhook_id}")
    console.print(f"{webhook_id} is deleted", highlight=False)
