"""`stillhouse jobs`: post a job, follow it, steer it."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from app.cli import options, steering
from app.cli.client import JOBS, Service, connect, print_json
from app.cli.progress import JobDisplay, describe, print_outcome
from app.contracts.job import FINAL, Checkpoint, Job, Status
from app.contracts.registry import Page

commands = typer.Typer(help="Post jobs, follow them, steer them.", no_args_is_help=True)
commands.command()(steering.cancel)
commands.command()(steering.pause)
commands.command()(steering.resume)
commands.command()(steering.retry)
commands.command()(steering.clone)
console = Console(soft_wrap=True)


@commands.command()
def create(  # noqa: PLR0913 (options)
    spec: Annotated[Path, typer.Argument(metavar="SPEC.json", help="A job spec; - reads stdin.")],
    url: options.Url = None,
    key_file: options.KeyFile = None,
    idempotency_key: options.IdempotencyKey = None,
    *,
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Check the spec and queue nothing.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the job to its end.")] = False,
    as_json: options.Json = False,
) -> None:
    """Post a job, or only check its spec."""
    body = _read(spec)
    with connect(url, key_file) as service:
        if validate_only:
            print_json(service.post(JOBS, body, validate_only="true"))
            return
        response = service.create(JOBS, body, idempotency_key)
        if watch:
            follow(service, response.json()["id"], as_json=as_json)
        else:
            steering.say_id(response, as_json=as_json)


@commands.command("list")
def list_jobs(  # noqa: PLR0913 (options)
    status: Annotated[
        list[Status] | None, typer.Option(help="Only jobs of this status; may be repeated.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Only jobs of this name.")] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Only jobs with this pair; may be repeated."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    url: options.Url = None,
    key_file: options.KeyFile = None,
    *,
    as_json: options.Json = False,
) -> None:
    """List jobs, newest first."""
    wanted: dict[str, str | list[str]] = dict(map(_filter, metadata or []))
    wanted["status"] = [one.value for one in status or []]
    if name is not None:
        wanted["name"] = name
    with connect(url, key_file) as service:
        response = service.get(JOBS, limit=limit, **wanted)
    if as_json:
        print_json(response)
        return
    page = Page[Job].model_validate_json(response.content)
    table = Table(Column("job", min_width=44), "name", "status", "progress", "posted")
    for job in page.data:
        ended = job.status in FINAL
        doing = "" if ended or job.phase is None else f"{job.phase.value} {describe(job)}"
        posted = f"{job.created_at.astimezone():%Y-%m-%d %H:%M:%S}"
        table.add_row(job.id, job.name, job.status.value, doing, posted)
    console.print(table)


@commands.command()
def get(
    job_id: options.JobId,
    url: options.Url = None,
    key_file: options.KeyFile = None,
    *,
    as_json: options.Json = False,
) -> None:
    """Show how a job stands."""
    with connect(url, key_file) as service:
        response = service.get(f"{JOBS}/{job_id}")
    if as_json:
        print_json(response)
    else:
        print_outcome(console, Job.model_validate_json(response.content))


@commands.command()
def watch(
    job_id: options.JobId,
    url: options.Url = None,
    key_file: options.KeyFile = None,
    *,
    as_json: options.Json = False,
) -> None:
    """Follow a job to its end; exit code 1 unless it succeeds."""
    with connect(url, key_file) as service:
        follow(service, job_id, as_json=as_json)


@commands.command()
def delete(
    job_id: options.JobId,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Delete a job that has ended, with its files and models."""
    with connect(url, key_file) as service:
        service.delete(f"{JOBS}/{job_id}")
    console.print(f"{job_id} is deleted", highlight=False)


@commands.command()
def checkpoints(
    job_id: options.JobId,
    url: options.Url = None,
    key_file: options.KeyFile = None,
    *,
    as_json: options.Json = False,
) -> None:
    """List a job's checkpoints, newest first."""
    with connect(url, key_file) as service:
        response = service.get(f"{JOBS}/{job_id}/checkpoints")
    if as_json:
        print_json(response)
        return
    page = Page[Checkpoint].model_validate_json(response.content)
    wide = (Column("checkpoint", min_width=47), "number", Column("phase", min_width=20))
    table = Table(*wide, "model", "step", "made")
    for one in page.data:
        step = "" if one.step is None else str(one.step)
        made = f"{one.created_at.astimezone():%Y-%m-%d %H:%M:%S}"
        table.add_row(one.id, str(one.number), one.phase.value, one.role or "", step, made)
    console.print(table)


@commands.command()
def logs(
    job_id: options.JobId,
    tail: Annotated[int | None, typer.Option(min=1, help="Only the last lines.")] = None,
    attempt: Annotated[
        int | None, typer.Option(min=1, help="From 1; the latest by default.")
    ] = None,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """Print what the trainer printed in one attempt."""
    given = {"tail": tail, "attempt": attempt}
    wanted = {name: value for name, value in given.items() if value is not None}
    with connect(url, key_file) as service:
        typer.echo(service.get(f"{JOBS}/{job_id}/logs", **wanted).text, nl=False)


def follow(service: Service, job_id: str, *, as_json: bool) -> Job:
    """Show a job until it ends, then its outcome; anything but success is exit code 1."""
    changes = service.watch(job_id)
    job = next(changes)
    with JobDisplay(Console(stderr=as_json, soft_wrap=True)) as display:
        display.show(job)
        for job in changes:
            display.show(job)
    if as_json:
        typer.echo(job.model_dump_json(indent=2))
    else:
        print_outcome(console, job)
    if job.status is not Status.SUCCEEDED:
        raise typer.Exit(1)
    return job


def _filter(pair: str) -> tuple[str, str]:
    key, equals, value = pair.partition("=")
    if not key or not equals:
        raise typer.BadParameter(f"given {pair!r}; expected KEY=VALUE", param_hint="--metadata")
    return f"metadata[{key}]", value


def _read(path: Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint="SPEC.json") from None
