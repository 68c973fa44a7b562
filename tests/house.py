"""A whole Stillhouse for the tests: the processes an operator starts, and a client over HTTP."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx2
import psutil

STARTUP_SECONDS = 60
FINAL = ("succeeded", "failed", "cancelled")
COMMAND = Path(sys.executable).with_name("stillhouse")


class House:
    """The service's processes, each started by the command of its name."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "STILLHOUSE_WORK_FOLDER": str(folder / "work"),
            "STILLHOUSE_PEPPER_FILE": str(folder / "pepper"),
            **environment,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.client = httpx2.Client()

    @classmethod
    @contextmanager
    def open(cls, folder: Path, environment: dict[str, str]) -> Iterator[Self]:
        """Start everything and stop it again, leaving no process."""
        house = cls(folder, environment)
        try:
            house.move_in(["worker"])
            yield house
        finally:
            house.client.close()
            for name in ("worker", "reconciler", "api"):
                house.stop(name)

    def move_in(self, workers: list[str]) -> None:
        """Make the tables and a key, start every part and wait until the API is ready."""
        self.run("migrate")
        key = self.run("keys", "create", "tests").split()[-1]
        port = _free_port()
        self.start("api", "--port", str(port))
        self.client.close()
        self.client = httpx2.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {key}"},
            timeout=30,
        )
        for name in ("reconciler", *workers):
            self.start(name)
        self.wait_until_ready()

    def run(self, *arguments: str) -> str:
        """Run a `stillhouse` command to its end and return what it printed."""
        done = subprocess.run(
            [COMMAND, *arguments], env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, name: str, *arguments: str) -> None:
        """Start the part of that name; `worker-2` and so on are workers, too."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [COMMAND, name.split("-", maxsplit=1)[0], *arguments],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self, name: str) -> None:
        """End a part as an operator would, and see that nothing of it is left."""
        process = self.processes.pop(name, None)
        if process is None:
            return
        family = [
            psutil.Process(process.pid),
            *psutil.Process(process.pid).children(recursive=True),
        ]
        process.send_signal(signal.SIGTERM)
        alive = still_running(family)
        for survivor in alive:
            survivor.kill()
        process.wait()
        assert not alive, f"{name} left {alive}"

    def kill(self, name: str) -> list[psutil.Process]:
        """End a part as bad luck would, with all of Celery's processes; return who they were."""
        process = self.processes.pop(name)
        family = [
            psutil.Process(process.pid),
            *psutil.Process(process.pid).children(recursive=True),
        ]
        for member in family:
            member.kill()
        process.wait()
        return family

    def wait_until_ready(self) -> None:
        self._wait_for("/readyz")

    def wait_until_alive(self) -> None:
        self._wait_for("/healthz")

    def _wait_for(self, path: str) -> None:
        deadline = time.monotonic() + STARTUP_SECONDS
        while True:
            try:
                answer = self.client.get(path)
            except httpx2.TransportError:
                assert time.monotonic() < deadline, f"no answer from {path}"
            else:
                if answer.is_success:
                    return
                assert time.monotonic() < deadline, answer.text
            time.sleep(0.1)

    def create(self, spec: dict[str, Any]) -> str:
        """Post a job and return its id."""
        answer = self.client.post("/v1/distillation/jobs", json=spec)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        answer = self.client.get(f"/v1/distillation/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def events(self, job_id: str) -> list[dict[str, Any]]:
        answer = self.client.get(f"/v1/distillation/jobs/{job_id}/events", params={"limit": 100})
        events: list[dict[str, Any]] = answer.json()["data"]
        return events

    def wait(
        self, job_id: str, until: Callable[[dict[str, Any]], bool], seconds: float = 300
    ) -> dict[str, Any]:
        """Wait until a job is as it should be."""
        deadline = time.monotonic() + seconds
        while True:
            job = self.job(job_id)
            if until(job):
                return job
            assert time.monotonic() < deadline, job
            time.sleep(0.1)

    def wait_for_end(self, job_id: str, seconds: float = 300) -> dict[str, Any]:
        return self.wait(job_id, lambda job: job["status"] in FINAL, seconds)

    def upload(self, path: Path) -> str:
        """Upload a file and return its id."""
        with path.open("rb") as file:
            answer = self.client.post("/v1/files", files={"file": (path.name, file)})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


def still_running(family: list[psutil.Process], seconds: float = 40) -> list[psutil.Process]:
    """Return which of these processes have not ended after a while; a zombie has."""
    _, alive = psutil.wait_procs(family, timeout=seconds)
    return [each for each in alive if not _is_zombie(each)]


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def wait_for_line(path: Path, words: str) -> None:
    """Wait until a program has printed some words to a file."""
    deadline = time.monotonic() + STARTUP_SECONDS
    while words not in path.read_text():
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
