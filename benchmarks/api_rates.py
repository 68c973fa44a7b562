"""How fast jobs are made and read, beside MLflow's server and its runs; exits 1 past the bars.

All servers have one process, PostgreSQL of the same kind, and the same 8 clients with kept-alive
connections; they take turns, once they are warm. The third shows what FastAPI and SQLAlchemy take
alone. Bars: 20 and 10 times MLflow's rates, a job made within 50 ms in 99 of 100 cases, and a page
of 20 from 100,000 jobs in at most 1.5 times the time of one from 100.

`python -m benchmarks.api_rates MLFLOW`, the path of MLflow's command in an environment of its own.
"""

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, func, insert, select, text
from uuid_utils import uuid7

from app.db.models import Job
from benchmarks.bare_api import DATABASE_URL, ROWS
from benchmarks.clients import Heard, ask, crowd, request
from benchmarks.service import Service, free_port, new_database, postgres, running, serve

CLIENTS = 8
WARM_SECONDS = 2.0
ROUNDS, ROUND_SECONDS = 3, 5.0
FEW, MANY = 100, 100_000
PAGE_SECONDS = 3.0
CREATE_TIMES, READ_TIMES, PAGE_TIMES = 20.0, 10.0, 1.5
CREATE_P99_SECONDS = 0.05
BATCH = 500

JOBS = "/v1/distillation/jobs"
RUNS = "/api/2.0/mlflow/runs"
SPEC: dict[str, Any] = {
    "name": "digits",
    "dataset": {"source": "builtin", "name": "digits"},
    "teacher": {"source": "train", "architecture": {"name": "mlp", "hidden_sizes": [256]}},
    "student": {"architecture": {"name": "mlp", "hidden_sizes": [32]}},
    "objective": [{"loss": "soft_targets", "weight": 0.9}, {"loss": "labels", "weight": 0.1}],
    "metadata": {"team": "vision"},
}
RUN: dict[str, Any] = {
    "experiment_id": "0",
    "run_name": "digits",
    "start_time": 1_700_000_000_000,
    "tags": [{"key": "team", "value": "vision"}],
}


@dataclass
class Peer:
    """One of the servers: how things are made and read there."""

    port: int
    create: bytes
    read: bytes
    made: Heard
    got: Heard


def main(mlflow: Path) -> int:
    """Print the figures and return the exit code."""
    with tempfile.TemporaryDirectory() as name, postgres(Path(name)) as url:
        folder = Path(name)
        few, many = _pages(folder, url)
        own, theirs = new_database(url, "stillhouse"), new_database(url, "mlflow")
        with (
            serve(folder, own, STILLHOUSE_KEY_REQUESTS_PER_MINUTE="0") as service,
            _mlflow(mlflow, folder, theirs) as port,
            _bare(new_database(url, "bare")) as bare_port,
        ):
            ours, others, least = _ours(service), _theirs(port), _least(bare_port)
            for peer in (ours, others, least):
                _warm(peer)
            for _ in range(ROUNDS):
                for peer in (ours, others, least):
                    _round(peer)
    _table(ours, others, least)
    assert {*least.made.statuses, *least.got.statuses} == {200, 201}  # noqa: S101 (else nothing is measured)
    return _tell(ours, others, few, many)


def _warm(peer: Peer) -> None:
    """Let a server open its connections and build its statements, which it does once."""
    for asked in (peer.create, peer.read):
        crowd(peer.port, CLIENTS, WARM_SECONDS, lambda _, asked=asked: asked)  # type: ignore[misc]


def _round(peer: Peer) -> None:
    for heard, asked in ((peer.made, peer.create), (peer.got, peer.read)):
        found = crowd(peer.port, CLIENTS, ROUND_SECONDS, lambda _, asked=asked: asked)  # type: ignore[misc]
        heard.statuses += found.statuses
        heard.seconds += found.seconds
        heard.took_seconds += found.took_seconds


def _ours(service: Service) -> Peer:
    create = request("POST", JOBS, service.key, SPEC)
    answer = ask(service.port, create)
    read = request("GET", f"{JOBS}/{json.loads(answer.body)['id']}", service.key)
    return Peer(service.port, create, read, Heard(), Heard())


def _theirs(port: int) -> Peer:
    create = request("POST", f"{RUNS}/create", "", RUN)
    answer = ask(port, create)
    run_id = json.loads(answer.body)["run"]["info"]["run_id"]
    return Peer(port, create, request("GET", f"{RUNS}/get?run_id={run_id}"), Heard(), Heard())


def _least(port: int) -> Peer:
    create = request("POST", ROWS, "", SPEC)
    read = request("GET", f"{ROWS}/{json.loads(ask(port, create).body)['id']}")
    return Peer(port, create, read, Heard(), Heard())


@contextmanager
def _bare(database_url: str) -> Iterator[int]:
    port = free_port()
    command: list[str | Path] = [sys.executable, "-m", "uvicorn", "benchmarks.bare_api:create_app"]
    command += ["--factory", "--no-access-log", "--port", str(port)]
    environment = {**os.environ, DATABASE_URL: database_url}
    with running(command, environment, f"http://127.0.0.1:{port}/healthz"):
        yield port


@contextmanager
def _mlflow(command: Path, folder: Path, database_url: str) -> Iterator[int]:
    port = free_port()
    arguments = ["server", "--backend-store-uri", database_url, "--workers", "1"]
    arguments += ["--default-artifact-root", str(folder / "artifacts"), "--port", str(port)]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment["PATH"] = f"{command.parent}{os.pathsep}{environment['PATH']}"
    environment.pop("PYTHONPATH", None)
    ready = f"http://127.0.0.1:{port}/health"
    with running([command, *arguments], environment, ready):
        yield port


def _pages(folder: Path, url: str) -> tuple[float, float]:
    """Return the median seconds of a page from few jobs and from many, asked for in turns."""
    few_url, many_url = new_database(url, "few"), new_database(url, "many")
    limit = {"STILLHOUSE_KEY_REQUESTS_PER_MINUTE": "0"}
    few: list[float] = []
    many: list[float] = []
    with serve(folder, few_url, **limit) as small, serve(folder, many_url, **limit) as large:
        _fill(few_url, small, FEW)
        _fill(many_url, large, MANY)
        for _ in range(ROUNDS):
            few += _page_seconds(small)
            many += _page_seconds(large)
    return statistics.median(few), statistics.median(many)


def _fill(url: str, service: Service, number: int) -> None:
    """Copy a job that was posted until there are so many."""
    answer = ask(service.port, request("POST", JOBS, service.key, SPEC))
    job_id = json.loads(answer.body)["id"]
    engine = create_engine(url)
    with engine.begin() as connection:
        table = Job.metadata.tables["jobs"]
        row = dict(connection.execute(select(table).where(table.c.id == job_id)).mappings().one())
        there = connection.execute(select(func.count()).select_from(table)).scalar_one()
        for start in range(there, number, BATCH):
            copies = range(min(BATCH, number - start))
            rows = [{**row, "id": f"distjob-{uuid7()}", "status": "cancelled"} for _ in copies]
            for one in rows:
                one["finished_at"], one["desired_status"] = row["created_at"], "cancelled"
            connection.execute(insert(table), rows)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    engine.dispose()


def _page_seconds(service: Service) -> list[float]:
    """Return the seconds that each page of the 20 newest took."""
    page = request("GET", f"{JOBS}?limit=20", service.key)
    heard = crowd(service.port, 1, PAGE_SECONDS, lambda _: page)
    assert set(heard.statuses) == {200}  # noqa: S101 (else nothing is measured)
    return heard.seconds


def _table(ours: Peer, theirs: Peer, least: Peer) -> None:
    print("| | requests/s | p50 (ms) | p99 (ms) | statuses |")
    print("| --- | ---: | ---: | ---: | --- |")
    for name, heard in (
        ("Stillhouse, a job made", ours.made),
        ("MLflow, a run made", theirs.made),
        ("FastAPI and SQLAlchemy alone, a row made", least.made),
        ("Stillhouse, a job read", ours.got),
        ("MLflow, a run read", theirs.got),
        ("FastAPI and SQLAlchemy alone, a row read", least.got),
    ):
        p50, p99 = (1000 * heard.quantile(share) for share in (0.5, 0.99))
        print(f"| {name} | {heard.rate:.0f} | {p50:.1f} | {p99:.1f} | {dict(heard.statuses)} |")


def _tell(ours: Peer, theirs: Peer, few: float, many: float) -> int:
    p99 = ours.made.quantile(0.99)
    pages = f"({1000 * many:.1f} and {1000 * few:.1f} ms)"
    bars = [
        (
            f"making, times MLflow's {ours.made.rate / theirs.made.rate:.1f}",
            ours.made.rate / theirs.made.rate >= CREATE_TIMES,
            f"at least {CREATE_TIMES:.0f}",
        ),
        (
            f"reading, times MLflow's {ours.got.rate / theirs.got.rate:.1f}",
            ours.got.rate / theirs.got.rate >= READ_TIMES,
            f"at least {READ_TIMES:.0f}",
        ),
        (f"a job made, p99 {1000 * p99:.0f} ms", p99 <= CREATE_P99_SECONDS, "at most 50"),
        (
            f"a page of {MANY:,} jobs, times one of {FEW}: {many / few:.2f} {pages}",
            many / few <= PAGE_TIMES,
            f"at most {PAGE_TIMES}",
        ),
    ]
    print()
    for figure, is_met, bar in bars:
        print(f"{figure} (bar: {bar}): {'met' if is_met else 'MISSED'}")
    made = (set(ours.made.statuses), set(theirs.made.statuses))
    got = (set(ours.got.statuses), set(theirs.got.statuses))
    good = made == ({201}, {200}) and got == ({200}, {200})
    return 0 if good and all(is_met for _, is_met, _ in bars) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
