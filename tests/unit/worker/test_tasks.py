"""A Celery worker whose GPU is away does not start, and goes when a trainer has found none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CELERY = [sys.executable, "-P", "-m", "celery", "-A", "worker.tasks:celery", "worker"]
RING = """
from worker import tasks

class Supervisor:
    gpu_is_away = {away}
    def run_all(self): print("looked", flush=True)

tasks._supervisor.append(Supervisor())
tasks.doorbell("distjob-1")
"""
MAIN = """trap 'echo told; exit' TERM; "$0" -c "$1"; echo stays"""


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_worker_refuses_to_start_without_its_gpu() -> None:
    done = run(*CELERY, STILLHOUSE_WORKER_GPUS="1", CUDA_VISIBLE_DEVICES="")

    assert done.returncode == os.EX_UNAVAILABLE, done.stderr
    line = json.loads(done.stderr.splitlines()[-1])
    assert (line["event"], line["level"]) == ("gpu_away", "error")
    assert "nvidia-smi" in line["hint"]


@pytest.mark.parametrize(("away", "words"), [(False, "stays"), (True, "told")])
def test_its_main_process_is_told_to_go_when_a_trainer_has_found_no_gpu(
    away: bool,  # noqa: FBT001 (a case)
    words: str,
) -> None:
    done = run("/bin/sh", "-c", MAIN, sys.executable, RING.format(away=away))

    assert done.stdout.split() == ["looked", words], done.stderr
    assert ("gpu_away" in done.stderr) == away
