"""A served API for the tests of the command line: no worker, so jobs end as a test says."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from app.contracts.job import JobError, Phase
from app.contracts.message import Manifest, OutputFile
from app.contracts.report import Fidelity, Interval, ModelReport, Report, Scores
from app.contracts.requests import SCOPES
from app.db import schema, verbs
from app.db.lifecycle import Actor
from app.db.session import Database
from app.services.keys import create_key, load_pepper
from app.storage import Storage
from worker.delivery import add_results, store_outputs

STARTUP_SECONDS = 60


@dataclass
class Served:
    """A running API, and the database and storage behind it."""

    url: str
    key_file: Path
    database: Database
    storage: Storage
    process: subprocess.Popen[bytes]

    @property
    def variables(self) -> dict[str, str]:
        """What a client's environment has."""
        return {"STILLHOUSE_URL": self.url, "STILLHOUSE_API_KEY": self.key_file.read_text()}

    def requests(self, path: str, at_least: int, *, method: str = "") -> list[dict[str, Any]]:
        """Return what was logged of requests whose path has ``path`` in it.

        A line is written after its answer has been sent, so whoever has that may be here before
        it: wait until there are so many, and return what there are when they do not come.
        """
        give_up = time.monotonic() + STARTUP_SECONDS
        while True:
            lines = self.key_file.with_name("api.log").read_text().splitlines(keepends=True)
            whole = [json.loads(line) for line in lines if line[0] == "{" and line[-1] == "\n"]
            found = [
                line
                for line in whole
                if line["event"] == "request"
                and path in line["path"]
                and line["method"].startswith(method)
            ]
            if len(found) >= at_least or time.monotonic() > give_up:
                return found
            time.sleep(0.02)

    def claim(self) -> tuple[str, int]:
        """Let a worker take the next job; return its id and fence."""
        with self.database.write() as session:
            job = verbs.claim(session, "worker-1", 0, 60)
            assert job is not None
            return job.id, job.fence

    def succeed(self, held: tuple[str, int], outputs: Path, report: Report) -> None:
        """End a claimed job with the files under ``outputs``."""
        paths = [path for path in outputs.rglob("*") if path.is_file()]
        files = [
            OutputFile(
                path=path.relative_to(outputs).as_posix(),
                bytes=path.stat().st_size,
                sha256=self.storage.put(path),
            )
            for path in paths
        ]
        (outputs / "manifest.json").write_text(Manifest(files=files).model_dump_json())
        with self.database.write() as session:
            job = verbs.hold(session, *held)
            add_results(session, job, store_outputs(self.storage, outputs), report)
            verbs.succeed(session, job, report)

    def fail(self, held: tuple[str, int]) -> None:
        error = JobError(
            code="bad_data",
            message='line 7, column "age": given "x"',
            phase=Phase.PREPARING,
            retryable=False,
            hint="Mend the line.",
        )
        with self.database.write() as session:
            verbs.fail(session, verbs.hold(session, *held), error, Actor.HOLDER)


@contextmanager
def serve(
    folder: Path,
    *options: str,
    storage_url: str | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[Served]:
    """Serve what is in a folder, with options of `stillhouse api` and settings of one's own."""
    storage_url = storage_url or str(folder / "blobs")
    settings = {
        "STILLHOUSE_DATABASE_URL": f"sqlite:///{folder}/test.db",
        "STILLHOUSE_STORAGE_URL": storage_url,
        "STILLHOUSE_PEPPER_FILE": str(folder / "pepper"),
        "STILLHOUSE_BROKER_URL": "redis://127.0.0.1:1/0",
        **(environment or {}),
    }
    database = Database(settings["STILLHOUSE_DATABASE_URL"])
    schema.upgrade(database)
    pepper = load_pepper(folder / "pepper")
    _, secret = create_key(database, pepper, project="default", name="tests", scopes=SCOPES)
    (folder / "api_key").write_text(secret)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with (folder / "api.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "api", "--port", str(port), *options],
            env=os.environ | settings,
            stdout=log,
            stderr=log,
        )
    try:
        _await(f"{url}/healthz")
        storage = Storage(storage_url)
        yield Served(url, folder / "api_key", database, storage, process)
    finally:
        process.terminate()
        process.wait(timeout=60)
        database.close()


def _await(url: str) -> None:
    give_up = time.monotonic() + STARTUP_SECONDS
    while True:
        try:
            if httpx2.get(url).is_success:
                return
        except httpx2.TransportError:
            assert time.monotonic() < give_up
        time.sleep(0.05)


def report(*, student_errors: int = 20, baseline_errors: int | None = 30) -> Report:
    """Make a report of 100 test examples, with a teacher that makes 10 errors."""

    def model(errors: int, num_parameters: int) -> ModelReport:
        accuracy = 1 - errors / 100
        test = Scores(
            num_examples=100,
            quality=accuracy,
            errors=errors,
            accuracy=accuracy,
            macro_f1=accuracy,
            log_loss=0.25,
            calibration_error=0.01,
        )
        return ModelReport(
            architecture="mlp",
            num_parameters=num_parameters,
            bytes=4 * num_parameters,
            latency_seconds=0.0005,
            test=test,
        )

    baseline = None if baseline_errors is None else model(baseline_errors, 2000)
    gain = None if baseline_errors is None else (baseline_errors - student_errors) / 100
    return Report(
        teacher=model(10, 20_000),
        baseline=baseline,
        student=model(student_errors, 2000),
        fidelity=Fidelity(agreement=0.9, mean_divergence=0.1),
        gain=gain,
        gain_interval=None if gain is None else Interval(low=gain - 0.05, high=gain + 0.05),
        gap_recovered=None if baseline_errors is None else 0.5,
        compression=10,
        speedup=3,
        num_examples={"train": 100, "validation": 0, "test": 100},
        output_names=["no", "yes"],
    )
