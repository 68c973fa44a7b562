"""A trainer's sandbox: used where it works, done without where it does not."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker import sandbox
from worker.sandbox import descendants, prefix

INSIDE = """
import os, socket
try:
    socket.create_connection(("127.0.0.1", {port}), timeout=5)
    print("network")
except OSError:
    print("no network")
print(os.listdir("/proc"))
"""


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    prefix.cache_clear()
    yield
    prefix.cache_clear()


def with_bwrap(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "bwrap"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_without_bubblewrap_a_trainer_runs_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert prefix() == ()


def test_where_the_kernel_forbids_it_a_trainer_runs_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_bwrap(tmp_path, "echo 'Operation not permitted' >&2; exit 1", monkeypatch)

    assert prefix() == ()


def test_a_bubblewrap_that_works_is_put_before_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_bwrap(tmp_path, "exit 0", monkeypatch)

    assert prefix() == (str(tmp_path / "bwrap"), *sandbox.OPTIONS, "--")


def test_inside_there_is_no_network_and_nobody_else() -> None:
    if not prefix():
        pytest.skip("bubblewrap does not work here")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        program = INSIDE.format(port=listening.getsockname()[1])
        command = [sys.executable, "-c", program]
        here = subprocess.run(command, capture_output=True, text=True, check=True)
        done = subprocess.run([*prefix(), *command], capture_output=True, text=True, check=True)

    assert here.stdout.startswith("network\n")
    first, processes = done.stdout.splitlines()
    assert first == "no network"
    assert f"'{os.getpid()}'" not in processes


def test_descendants_are_all_below_a_process() -> None:
    program = "import subprocess, sys; subprocess.run(['sleep', '60'])"
    process = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    while not (below := descendants(process.pid)):
        pass

    assert Path(f"/proc/{below[0]}/comm").read_text().strip() in {"sleep", "python", "python3"}
    for pid in [process.pid, *below]:
        os.kill(pid, 9)
    process.wait()
    assert descendants(process.pid) == []
