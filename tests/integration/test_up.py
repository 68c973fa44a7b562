"""`stillhouse up`: everything in one folder, and nothing left when it ends, however it ends."""

import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
import redis

from tests.house import still_running

COMMAND = str(Path(sys.executable).with_name("stillhouse"))
PATIENCE_SECONDS = 60


@dataclass
class Up:
    """A running `stillhouse up`."""

    process: subprocess.Popen[bytes]
    folder: Path
    output: Path

    @property
    def url(self) -> str:
        return (self.folder / "url").read_text().strip()

    @property
    def key(self) -> str:
        return (self.folder / "api_key").read_text().strip()

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def up(folder: Path) -> Iterator[Up]:
    output = folder.with_name(f"{folder.name}-{time.monotonic_ns()}.log")
    with output.open("wb") as log:
        process = subprocess.Popen(
            [COMMAND, "up", "--data", str(folder), "--port", "0"], stdout=log, stderr=log
        )
    running = Up(process, folder, output)
    try:
        wait_until(lambda: "is ready at" in output.read_text(), output)
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(PATIENCE_SECONDS)


def wait_until(condition: Callable[[], bool], why: Path) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up, why.read_text()
        time.sleep(0.1)


def refusal(*options: str) -> str:
    done = subprocess.run(
        [COMMAND, "up", *options], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    return done.stderr


def test_up_serves_and_leaves_no_process(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with up(folder) as running:
        family = running.family()
        headers = {"Authorization": f"Bearer {running.key}"}
        assert httpx2.get(f"{running.url}/v1/models", headers=headers).status_code == 200
        assert httpx2.get(f"{running.url}/v1/models").status_code == 401
        assert running.key in running.output.read_text()
        for private in ("api_key", "pepper", "valkey/valkey.conf"):
            assert stat.S_IMODE((folder / private).stat().st_mode) == 0o600

        assert "another `stillhouse up`" in refusal("--data", str(folder), "--port", "0")
        port = running.url.rpartition(":")[2]
        assert f"port {port}" in refusal("--data", str(tmp_path / "other"), "--port", port)
        address = re.search(r"port (\d+)", (folder / "valkey/valkey.conf").read_text())
        assert address is not None
        _refuses_strangers(int(address[1]))

        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(PATIENCE_SECONDS) == 0

    assert len(family) >= 4
    assert still_running(family) == []


def test_the_first_key_is_shown_once_and_keeps_working(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with up(folder) as running:
        key = running.key
    with up(folder) as running:
        assert running.key == key
        assert key not in running.output.read_text()
        headers = {"Authorization": f"Bearer {key}"}
        assert httpx2.get(f"{running.url}/v1/models", headers=headers).status_code == 200


def test_a_worker_that_was_killed_is_there_again(tmp_path: Path) -> None:
    with up(tmp_path / "data") as running:
        log = tmp_path / "data/logs/worker.log"
        wait_until(lambda: log.read_text().count(" ready.") == 1, log)
        (worker,) = (
            child
            for child in running.family()
            if child.ppid() == running.process.pid and "worker.tasks:celery" in child.cmdline()
        )
        worker.kill()

        wait_until(lambda: log.read_text().count(" ready.") == 2, log)


def test_nothing_outlives_an_up_that_was_killed(tmp_path: Path) -> None:
    with up(tmp_path / "data") as running:
        family = running.family()
        running.process.kill()
        running.process.wait()

        assert still_running(family) == []


def _refuses_strangers(port: int) -> None:
    with redis.Redis(port=port) as stranger:
        try:
            stranger.ping()
        except redis.AuthenticationError:
            return
    raise AssertionError("Valkey answers without a password")
