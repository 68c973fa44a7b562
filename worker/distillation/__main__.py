"""`python -m worker.distillation SPEC FOLDER`: one run, by hand or under the supervisor."""

import argparse
import ctypes
import errno
import faulthandler
import gc
import os
import signal
import sys
from pathlib import Path

from pydantic import ValidationError

from app.contracts.job import JobError, JobSpec
from app.contracts.message import STOPPED, AnyMessage, ExitCode, Failed, StopReason
from worker.distillation.console import Console
from worker.distillation.errors import JobFailure, Stopped
from worker.distillation.reporting import Reporter
from worker.distillation.workspace import Workspace

PR_SET_PDEATHSIG = 1
"""From Linux's <sys/prctl.h>: the signal to get when the parent dies."""


class MessagePipe:
    """Writes each message as one whole line of JSON."""

    def __init__(self, descriptor: int) -> None:
        self._stream = os.fdopen(descriptor, "w", encoding="utf-8", buffering=1)

    def send(self, message: AnyMessage) -> None:
        self._stream.write(message.model_dump_json() + "\n")


class Control:
    """Hears why the run should stop: lines on a pipe, each a ``StopReason``."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    def heard(self) -> StopReason | None:
        """Return the last word that has come since it was asked last, if any has."""
        try:
            words = os.read(self._descriptor, 4096).split()
        except BlockingIOError:
            return None
        return StopReason(words[-1].decode()) if words else None


def main(arguments: list[str] | None = None) -> int:
    """Run a spec and return the process's exit code; an unforeseen error is raised."""
    given = _parser().parse_args(arguments)
    if given.parent_pid is not None:
        _die_with(given.parent_pid)
    outlet = Console() if given.messages_fd is None else MessagePipe(given.messages_fd)
    listen = (lambda: None) if given.control_fd is None else Control(given.control_fd).heard
    reporter = Reporter(outlet.send, listen)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(reporter, "stop_reason", StopReason.DRAIN))
    # The supervisor asks a trainer that hangs where it does.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    try:
        spec = JobSpec.model_validate_json(given.spec.read_bytes())
    except ValidationError as error:
        reporter.send(Failed(error=_invalid_spec(error)))
        return ExitCode.BAD_INPUT
    return _run(spec, Workspace(given.folder), reporter)


def _run(spec: JobSpec, workspace: Workspace, reporter: Reporter) -> int:
    # Threads that wait for work then sleep: spinning, they stand in each other's way wherever a
    # core is shared (6 times slower, measured on two busy cores). OpenMP reads it when loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Only so does MKL promise the same bits from run to run. It reads them when it is loaded.
    os.environ.setdefault("MKL_CBWR", "AUTO")
    os.environ.setdefault("MKL_DYNAMIC", "FALSE")
    # What is loaded now stays: the collector need not walk it while loading, training or exiting.
    gc.disable()
    # Only now: importing torch takes a second, in which the parent may already die.
    from worker.distillation import pipeline  # noqa: PLC0415

    gc.enable()
    gc.freeze()
    try:
        pipeline.run(spec, workspace, reporter)
    except JobFailure:
        return ExitCode.BAD_INPUT
    except Stopped:
        assert reporter.stop_reason is not None  # noqa: S101 (it is why)
        return STOPPED[reporter.stop_reason]
    except Exception as error:
        if not is_disk_full(error):
            raise
        reporter.send(Failed(error=_disk_full(error)))
        return ExitCode.DISK_FULL
    # At the exit there is nothing to look for.
    gc.freeze()
    return ExitCode.SUCCEEDED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker.distillation", description=__doc__)
    parser.add_argument("spec", type=Path, help="a job spec, as JSON")
    parser.add_argument(
        "folder", type=Path, help="the run's folder; files the spec names lie in its inputs/"
    )
    parser.add_argument("--messages-fd", type=int, help="write messages there, one JSON a line")
    parser.add_argument("--control-fd", type=int, help="read there why to stop, one word a line")
    parser.add_argument("--parent-pid", type=int, help="die with this parent")
    return parser


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; exit if it has already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent process is gone")


def is_disk_full(error: BaseException) -> bool:
    """Say whether an error is of a disk, or a quota of one, that is full."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return True
    # safetensors has errors of its own, which say it in words.
    return any(f"(os error {number})" in str(error) for number in (errno.ENOSPC, errno.EDQUOT))


def _disk_full(error: Exception) -> JobError:
    return JobError(
        code="disk_full",
        message=f"The worker's disk is full: {error}.",
        retryable=True,
        hint="Free space under STILLHOUSE_WORK_FOLDER on the worker's machine.",
    )


def _invalid_spec(error: ValidationError) -> JobError:
    problems = "; ".join(
        f"/{'/'.join(map(str, problem['loc']))}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_context=False)
    )
    return JobError(
        code="invalid_spec",
        message=problems,
        retryable=False,
        hint="each path is where in the spec the value stands",
    )


if __name__ == "__main__":
    sys.exit(main())
