"""The Celery workers of this machine: one for each GPU, each seeing only its own, or one."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from structlog import get_logger

from app.config import FOR_TRAINERS, Settings, environment_for_child
from app.contracts.task import QUEUE
from app.local.tree import Command

log = get_logger(__name__)

NVIDIA_SMI_SECONDS = 20
TORCH_SECONDS = 120
"""More than it takes to load torch on a busy machine; a driver that hangs is none."""
YES, NO = 0, 3
"""Exit codes; Python's own for an error is 1."""
GPU_LINE = re.compile(r"^GPU \d+: .*\(UUID: (GPU-[^)]+)\)$")
SLICE_LINE = re.compile(r"^\s+MIG .*\(UUID: (MIG-[^)]+)\)$")
SPARE_SECONDS = 15.0
"""For what a worker does after its trainer has ended."""


def worker_commands(settings: Settings, logs: Path | None = None) -> list[Command]:
    """Return a command for each worker that this machine should run."""
    gpus = find_gpus()
    if gpus and _torch_says("torch.version.cuda or torch.version.hip") is False:
        log.warning("gpus_not_used", gpus=gpus, reason="torch is built for the CPU alone")
        gpus = []
    if not gpus:
        return [_command(settings, "worker", {"STILLHOUSE_WORKER_GPUS": "0"}, logs)]
    return [
        _command(
            settings,
            f"worker-{index}",
            {
                "STILLHOUSE_WORKER_GPUS": "1",
                "CUDA_VISIBLE_DEVICES": gpu,
                "STILLHOUSE_WORKER_METRICS_PORT": str(_metrics_port(settings, index)),
            },
            logs,
        )
        for index, gpu in enumerate(gpus)
    ]


def _metrics_port(settings: Settings, index: int) -> int:
    return settings.worker_metrics_port + index if settings.worker_metrics_port else 0


def find_gpus() -> list[str]:
    """Return what names each GPU in ``CUDA_VISIBLE_DEVICES``, which is honoured where it is set."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        listing = subprocess.run(  # noqa: S603 (the command is ours)
            [program, "-L"], capture_output=True, text=True, timeout=NVIDIA_SMI_SECONDS, check=True
        )
    except subprocess.SubprocessError as error:
        log.warning("gpus_not_seen", reason=str(error), output=getattr(error, "stdout", None))
        return []
    present = _parse(listing.stdout)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not present or visible is None:
        return present
    chosen = [name.strip() for name in visible.split(",")]
    # CUDA stops reading at the first name that is none, such as -1 or nothing.
    end = next((i for i, name in enumerate(chosen) if name in {"", "-1"}), len(chosen))
    return chosen[:end]


def torch_finds_gpu() -> bool:
    """Say whether a trainer would find a GPU."""
    return _torch_says("torch.cuda.is_available()") is True


def _torch_says(what: str) -> bool | None:
    """Ask torch in a process of its own; None where that comes to no answer."""
    program = f"import sys, torch; sys.exit({YES} if {what} else {NO})"
    try:
        asked = subprocess.run(  # noqa: S603 (the command is ours)
            [sys.executable, "-P", "-c", program],
            env=environment_for_child(*FOR_TRAINERS),
            capture_output=True,
            timeout=TORCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return {YES: True, NO: False}.get(asked.returncode)


def _parse(listing: str) -> list[str]:
    """Read `nvidia-smi -L`; a GPU that is cut into slices is used by its slices."""
    found: list[str] = []
    whole: str | None = None
    for line in listing.splitlines():
        if gpu := GPU_LINE.match(line):
            whole = gpu[1]
            found.append(whole)
        elif part := SLICE_LINE.match(line):
            if whole in found:
                found.remove(whole)
            found.append(part[1])
    return found


def _command(
    settings: Settings, name: str, environment: dict[str, str], logs: Path | None
) -> Command:
    celery = [sys.executable, "-P", "-m", "celery", "-A", "worker.tasks:celery", "worker"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return Command(
        name,
        [*celery, *quiet, "-Q", QUEUE, "-n", f"{name}@%h", "--loglevel", "INFO"],
        environment,
        None if logs is None else logs / f"{name}.log",
        settings.terminate_seconds + SPARE_SECONDS,
        asked_first=True,
    )
