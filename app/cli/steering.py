"""`stillhouse jobs cancel`, `pause`, `resume`, `retry`, `clone`: what is to become of a job."""

import json
from typing import Annotated

import httpx2
import typer
from rich.console import Console

from app.cli import options
from app.cli.client import JOBS, connect, print_json
from app.contracts.job import Job, Status

console = Console(soft_wrap=True)


def cancel(
    job_id: options.JobId,
    url: options.Url = None,
    key_file: options.KeyFile = None,
    *,
    kill: Annotated[
        bool, typer.Option("--kill", help="At once, without waiting for the end of a step.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Cancel a job."""
    with connect(url, key_file) as service:
        mode = b'{"mode": "kill"}' if kill else b'{"mode": "graceful"}'
        response = service.post(f"{JOBS}/{job_id}/cancel", mode)
    _say(response, Status.CANCELLED, "is cancelled", "is being cancelled", as_json=as_json)


def pause(
    job_id: options.JobId,
    url: options.Url = None,
    key_file: options.KeyFile = None,
    *,
    as_json: options.Json = False,
) -> None:
    """Pause a job; one that runs makes a checkpoint first."""
    with connect(url, key_file) as service:
        response = service.post(f"{JOBS}/{job_id}/pause", b"")
    _say(response, Status.PAUSED, "is paused", "is being paused", as_json=as_json)


def resume(
    job_id: options.JobId,
    url: options.Url = None,
    key_file: options.KeyFile = None,
    *,
    as_json: options.Json = False,
) -> None:
    """Let a paused job go on from its newest checkpoint."""
    with connect(url, key_file) as service:
        response = service.post(f"{JOBS}/{job_id}/resume", b"")
    _say(response, Status.QUEUED, "waits for a worker", "runs on", as_json=as_json)


def retry(
    job_id: options.JobId,
    url: options.Url = None,
    key_file: options.KeyFile = None,
    idempotency_key: options.IdempotencyKey = None,
    *,
    as_json: options.Json = False,
) -> None:
    """Post a new job like one that has failed or was cancelled."""
    with connect(url, key_file) as service:
        response = service.create(f"{JOBS}/{job_id}/retry", b"", idempotency_key)
    say_id(response, as_json=as_json)


def clone(  # noqa: PLR0913 (options)
    job_id: options.JobId,
    name: Annotated[str | None, typer.Option(help="Of the new job.")] = None,
    priority: Annotated[int | None, typer.Option(help="Of the new job.")] = None,
    url: options.Url = None,
    key_file: options.KeyFile = None,
    idempotency_key: options.IdempotencyKey = None,
    *,
    as_json: options.Json = False,
) -> None:
    """Post a new job like another, whatever has become of that."""
    given = {"name": name, "priority": priority}
    changes = {field: value for field, value in given.items() if value is not None}
    with connect(url, key_file) as service:
        path = f"{JOBS}/{job_id}/clone"
        response = service.create(path, json.dumps(changes).encode(), idempotency_key)
    say_id(response, as_json=as_json)


def say_id(response: httpx2.Response, *, as_json: bool) -> None:
    """Print the id of a job just made, or all of it."""
    if as_json:
        print_json(response)
    else:
        console.print(Job.model_validate_json(response.content).id, highlight=False)


def _say(
    response: httpx2.Response, aim: Status, reached: str, on_its_way: str, *, as_json: bool
) -> None:
    if as_json:
        print_json(response)
        return
    job = Job.model_validate_json(response.content)
    words = reached if job.status is aim else on_its_way
    console.print(f"{job.id} {words}", highlight=False)
