"""A crowd at the door: 1,000 clients at once for a minute, then 20 racing copies of 2,000 requests.

One API process; the crowd comes with the default limit of requests, and again with a low one, the
race with none. Bars: no answer but 2xx, 304, 429 and 503 (these two with Retry-After), at most 400
MB resident, and exactly 2,000 jobs. `python -m benchmarks.load`; exits 1 past the bars.
"""

import asyncio
import json
import random
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from benchmarks.api_rates import JOBS, SPEC
from benchmarks.clients import Answer, Client, ask, crowd, request
from benchmarks.service import Service, new_database, postgres, serve

CLIENTS = 1000
FOLLOWERS = 100
"""Those of them that follow a job's events as a stream."""
SECONDS = 60.0
LIMIT, LIMITED_SECONDS = "1200", 20.0
"""So few requests a minute that most are refused."""
RESIDENT_MB = 400.0
KEYS, COPIES = 2000, 20
AT_ONCE = 50
"""Keys that are raced for at the same time, each by all its copies."""
PATIENCE_SECONDS = 0.2

ALLOWED = {200, 201, 304, 429, 503}
CUT = 0
"""Stands for no answer; the key makes it safe to ask again."""
AGAIN = {CUT, 409, 429, 503}


def main() -> int:
    """Print the figures and return the exit code."""
    # A client and the API have a file for each connection.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with postgres(folder) as url:
            with serve(folder, new_database(url, "crowd")) as service:
                good = _press(service, SECONDS)
            with serve(
                folder, new_database(url, "limited"), STILLHOUSE_KEY_REQUESTS_PER_MINUTE=LIMIT
            ) as service:
                good &= _press(service, LIMITED_SECONDS, is_limited=True)
            race = new_database(url, "race")
            with serve(folder, race, STILLHOUSE_KEY_REQUESTS_PER_MINUTE="0") as service:
                good &= _race(service, "PostgreSQL")
        sqlite = f"sqlite:///{folder}/stillhouse.db"
        with serve(folder, sqlite, STILLHOUSE_KEY_REQUESTS_PER_MINUTE="0") as service:
            good &= _race(service, "SQLite")
    return 0 if good else 1


def _press(service: Service, seconds: float, *, is_limited: bool = False) -> bool:
    """Let all clients do all that clients do, and watch what they are answered.

    Where requests are limited to few, some must be refused for it.
    """
    made = ask(service.port, request("POST", JOBS, service.key, SPEC))
    job = f"{JOBS}/{json.loads(made.body)['id']}"
    asked = [
        request("POST", JOBS, service.key, SPEC),
        *(request("GET", f"{job}{more}", service.key) for more in ("", "/events", "/metrics")),
        request("GET", f"{job}?wait=5", service.key),
        request("GET", f"{JOBS}?limit=20&status=queued", service.key),
        request("GET", "/v1/queue", service.key),
    ]
    dice = random.Random(0)  # noqa: S311 (which is next)
    streams = [request("GET", f"{job}/events/stream", service.key)] * FOLLOWERS
    others = CLIENTS - FOLLOWERS
    with _watched(service) as resident:
        heard = crowd(service.port, others, seconds, lambda _: dice.choice(asked), streams)
    statuses = heard.statuses + heard.followed
    unheard = sum(
        answer.status == HTTPStatus.OK
        and b"text/event-stream" in answer.headers
        and not answer.body
        for answer in heard.answers
    )
    without = sum(
        answer.status in {429, 503} and b"retry-after: " not in answer.headers
        for answer in heard.answers
    )
    most = max(resident)
    print(f"{CLIENTS} clients for {heard.took_seconds:.0f} s: {dict(sorted(statuses.items()))}")
    print(f"  of these, streams of events: {dict(heard.followed)}; without an event: {unheard}")
    print(f"  p50 {heard.quantile(0.5):.2f} s, p99 {heard.quantile(0.99):.2f} s")
    print(f"  {most:.0f} MB resident; 429 and 503 without Retry-After: {without}")
    good = set(statuses) <= ALLOWED and not without and not unheard and most <= RESIDENT_MB
    good &= HTTPStatus.TOO_MANY_REQUESTS in statuses or not is_limited
    # Whoever refuses everybody is no service.
    good &= all(status in statuses for status in (HTTPStatus.OK, HTTPStatus.CREATED))
    print(f"  bars: {'met' if good else 'MISSED'}")
    return good


def _race(service: Service, database: str) -> bool:
    """Post each of many jobs many times at once, as clients do that have lost patience."""
    start = time.perf_counter()
    statuses, ids = asyncio.run(_all_copies(service))
    seconds = time.perf_counter() - start
    page, num_jobs, after = True, 0, ""
    while page:
        answer = ask(service.port, request("GET", f"{JOBS}?limit=100{after}", service.key))
        found = json.loads(answer.body)
        num_jobs += len(found["data"])
        page, after = found["has_more"], f"&after={found['last_id']}"
    good = num_jobs == KEYS and all(len(of_key) == 1 for of_key in ids.values())
    good &= set(statuses) <= {201, *AGAIN}
    print(f"{COPIES} copies of {KEYS} requests on {database} in {seconds:.0f} s: {dict(statuses)}")
    print(f"  {num_jobs} jobs (bar: {KEYS}): {'met' if good else 'MISSED'}")
    return good


async def _all_copies(service: Service) -> tuple[Counter[int], dict[str, set[str]]]:
    statuses: Counter[int] = Counter()
    ids: dict[str, set[str]] = {f"key-{number}": set() for number in range(KEYS)}
    clients = [Client(service.port) for _ in range(AT_ONCE * COPIES)]

    async def copy(client: Client, key: str) -> None:
        asked = request("POST", JOBS, service.key, SPEC, Idempotency_Key=key)
        while (answer := await _answer(client, asked)).status in AGAIN:
            statuses[answer.status] += 1
            await asyncio.sleep(PATIENCE_SECONDS)
        statuses[answer.status] += 1
        ids[key].add(_id(answer))

    for batch in _batches(ids):
        racing = [key for key in batch for _ in range(COPIES)]
        await asyncio.gather(*map(copy, clients, racing))
    for client in clients:
        client.close()
    return statuses, ids


async def _answer(client: Client, asked: bytes) -> Answer:
    """Ask; a kept connection may be closed as it is used again, and then nothing is answered."""
    try:
        return await client.ask(asked)
    except (asyncio.IncompleteReadError, ConnectionError):
        client.close()
        return Answer(CUT, b"", b"")


def _id(answer: Answer) -> str:
    return str(json.loads(answer.body).get("id"))


def _batches(keys: dict[str, set[str]]) -> Iterator[list[str]]:
    listed = list(keys)
    for start in range(0, len(listed), AT_ONCE):
        yield listed[start : start + AT_ONCE]


@contextmanager
def _watched(service: Service) -> Iterator[list[float]]:
    """Take note of the resident megabytes of the API while the block runs."""
    resident: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            resident.append(service.resident_mb)

    thread = threading.Thread(target=watch)
    thread.start()
    yield resident
    over.set()
    thread.join()


if __name__ == "__main__":
    sys.exit(main())
