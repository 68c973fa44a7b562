"""An HTTP client of the service, and how it says what went wrong."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx2
import typer
from pydantic import JsonValue, TypeAdapter, ValidationError
from rich.console import Console

from app.cli.options import DATA
from app.config import ClientSettings
from app.contracts.job import FINAL, Job

TIMEOUT = httpx2.Timeout(60, connect=10)
WATCH_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 20
"""How long a request may wait for a watched job to change; some proxies cut at 30."""
LONGEST_OUTAGE_SECONDS = 60.0
"""How long a watched service may be away, as when it is being restarted."""
AWAY = {429, 502, 503, 504}
"""What it, or a proxy before it, answers meanwhile; and where there were too many requests."""
JOBS = "/v1/distillation/jobs"

complaints = Console(stderr=True, soft_wrap=True)
_BODY: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


class Refused(Exception):
    """The service did not do what was asked; the text is for people."""


class Service:
    """The service's routes, as this command line uses them."""

    def __init__(self, http: httpx2.Client) -> None:
        self.http = http

    def get(self, path: str, **parameters: str | int | list[str]) -> httpx2.Response:
        return checked(self.http.get(path, params=parameters))

    def post(self, path: str, body: bytes, **parameters: str | int) -> httpx2.Response:
        """Post JSON as it stands: whether it is any is the service's to judge."""
        headers = {"Content-Type": "application/json"}
        return checked(self.http.post(path, content=body, params=parameters, headers=headers))

    def create(self, path: str, body: bytes, idempotency_key: str | None) -> httpx2.Response:
        """Post what makes a job or a model; sent twice on the way, it makes no second one."""
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": idempotency_key or str(uuid4()),
        }
        return checked(self.http.post(path, content=body, headers=headers))

    def put(self, path: str, body: bytes, if_match: str | None) -> httpx2.Response:
        headers = {"Content-Type": "application/json"}
        if if_match is not None:
            headers["If-Match"] = if_match
        return checked(self.http.put(path, content=body, headers=headers))

    def delete(self, path: str) -> httpx2.Response:
        return checked(self.http.delete(path))

    def watch(self, job_id: str) -> Iterator[Job]:
        """Yield the job now and after each change, until it has ended."""
        tag = ""
        while True:
            response = self._wait_for(job_id, tag)
            if response.status_code != httpx2.codes.NOT_MODIFIED:
                tag = checked(response).headers.get("ETag", "")
                job = Job.model_validate_json(response.content)
                yield job
                if job.status in FINAL:
                    return
            time.sleep(WATCH_SECONDS)

    def _wait_for(self, job_id: str, tag: str) -> httpx2.Response:
        """Ask for a job other than the one of that tag, again while the service is away."""
        give_up = time.monotonic() + LONGEST_OUTAGE_SECONDS
        is_told = False
        while True:
            pause_seconds = WATCH_SECONDS
            try:
                response = self.http.get(
                    f"{JOBS}/{job_id}",
                    params={"wait": LONGEST_WAIT_SECONDS},
                    headers={"If-None-Match": tag},
                )
            except httpx2.UnsupportedProtocol:
                raise
            except httpx2.TransportError as error:
                if time.monotonic() > give_up:
                    raise
                reason = str(error)
            else:
                if response.status_code not in AWAY or time.monotonic() > give_up:
                    return response
                pause_seconds = _retry_after_seconds(response)
                reason = f"HTTP {response.status_code}"
            if not is_told:
                is_told = True
                message = f"The service is away or busy ({reason}); it is asked again for a minute."
                complaints.print(message, style="yellow", markup=False)
            time.sleep(pause_seconds)


@contextmanager
def connect(url: str | None, key_file: Path | None) -> Iterator[Service]:
    """Open a connection; what the service refuses ends the command with exit code 1."""
    settings = ClientSettings()
    address = url or settings.url or _read(DATA / "url", "the service's address", "--url")
    if key_file is not None:
        key = key_file.read_text().strip()
    elif settings.api_key is not None:
        key = settings.api_key.get_secret_value()
    else:
        key = _read(DATA / "api_key", "an API key", "--api-key-file")
    http = httpx2.Client(
        base_url=address,
        headers={"Authorization": f"Bearer {key}"},
        timeout=TIMEOUT,
        follow_redirects=True,
    )
    try:
        with http:
            yield Service(http)
    except Refused as refused:
        complaints.print(str(refused), style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        complaints.print(f"{address} does not answer: {error}", style="red", markup=False)
        raise typer.Exit(1) from None


def checked(response: httpx2.Response) -> httpx2.Response:
    """Return a response that went well.

    Raises:
        Refused: It did not; with the service's message, pointers and hint.
    """
    if response.is_success:
        return response
    response.read()
    raise Refused("\n".join(_explain(response)))


def print_json(response: httpx2.Response) -> None:
    """Print an answer for programs: JSON, indented, and nothing else."""
    typer.echo(json.dumps(response.json(), indent=2))


def _retry_after_seconds(response: httpx2.Response) -> float:
    given = response.headers.get("Retry-After", "")
    seconds = float(given) if given.isdecimal() else WATCH_SECONDS
    return min(max(seconds, WATCH_SECONDS), LONGEST_OUTAGE_SECONDS)


def _explain(response: httpx2.Response) -> Iterator[str]:
    try:
        problem = _BODY.validate_json(response.content)
    except ValidationError:
        yield f"HTTP {response.status_code} {response.reason_phrase}: {response.text[:500]}"
        return
    yield f"{problem.get('title', 'Refused')} (HTTP {response.status_code})"
    errors = problem.get("errors")
    if isinstance(errors, list) and errors:
        for error in errors:
            if isinstance(error, dict):
                yield f"  {error.get('pointer') or '/'}: {error.get('message')}"
    else:
        yield f"  {problem.get('detail')}"
    yield f"  request {problem.get('request_id')}"


def _read(path: Path, what: str, option: str) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        complaints.print(
            f"There is no {path} with {what}; start one with `stillhouse up`, or give {option}.",
            style="red",
        )
        raise typer.Exit(2) from None
