"""How a trainer's process starts, speaks, listens and ends.

It runs in a session of its own, in a sandbox where there is one, with a pipe for its messages and
one for the wish to stop, a file for all else it prints, and an environment without the service's
secrets.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pydantic import ValidationError
from structlog import get_logger

from app.config import FOR_TRAINERS, environment_for_child
from app.contracts.job import JobSpec
from app.contracts.message import MESSAGE, AnyMessage, StopReason
from worker.sandbox import descendants, prefix

log = get_logger(__name__)

LONGEST_MESSAGE_BYTES = 4 * 1024 * 1024
READ_BYTES = 64 * 1024
OF_A_SIGNAL = 128
"""What a sandbox adds to the number of a signal that has ended its program."""
DUMP_SECONDS = 1.0


def with_gpus_of(gpus: int, spec: JobSpec) -> JobSpec:
    """Return the spec with how many GPUs a trainer uses, where it leaves that to its worker.

    Else the trainer of a worker whose GPU is away would quietly take days on the CPU.
    """
    if spec.resources.gpus is not None:
        return spec
    resources = spec.resources.model_copy(update={"gpus": gpus})
    return spec.model_copy(update={"resources": resources})


class Trainer:
    """A running `python -m worker.distillation`, or another module with its manners."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        messages: int,
        control: int,
        *,
        in_sandbox: bool = False,
    ) -> None:
        """``messages`` is the pipe to read from, ``control`` the one to write to."""
        self._process = process
        self._messages = messages
        self._control = control
        self._in_sandbox = in_sandbox
        self._buffer = b""
        self._asked: StopReason | None = None
        self._asked_at = 0.0

    @classmethod
    def start(cls, module: str, folder: Path, *, use_gpu: bool) -> Self:
        """Start a trainer on the workspace ``folder``, which holds `spec.json` and `inputs`."""
        environment = environment_for_child(*FOR_TRAINERS)
        if not use_gpu:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        read_end, write_end = os.pipe()
        heard_end, control_end = os.pipe()
        for descriptor in (read_end, control_end):
            os.set_blocking(descriptor, False)
        sandbox = prefix()
        command = [*sandbox, sys.executable, "-P", "-u", "-m", module]
        command += [str(folder / "spec.json"), str(folder)]
        command += ["--messages-fd", str(write_end), "--control-fd", str(heard_end)]
        if not sandbox:
            # In a sandbox its parent is another, and the sandbox itself ends with this process.
            command += ["--parent-pid", str(os.getpid())]
        try:
            with (folder / "trainer.log").open("ab") as output:
                process = subprocess.Popen(  # noqa: S603 (the command is ours)
                    command,
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=[write_end, heard_end],
                    start_new_session=True,
                )
        except OSError:
            os.close(read_end)
            os.close(control_end)
            raise
        finally:
            os.close(write_end)
            os.close(heard_end)
        return cls(process, read_end, control_end, in_sandbox=bool(sandbox))

    @property
    def pid(self) -> int:
        return self._process.pid

    def messages(self, timeout_seconds: float) -> Iterator[AnyMessage]:
        """Yield the messages that have come, waiting at most a while for the first.

        Of a trainer that lives and speaks faster than it is listened to, only those of that while:
        else nobody would hear that it should stop.
        """
        until = time.monotonic() + timeout_seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._messages, selectors.EVENT_READ)
            if not selector.select(timeout_seconds):
                return
        heard = False
        while piece := self._read():
            heard = True
            self._buffer += piece
            *lines, self._buffer = self._buffer.split(b"\n")
            for line in lines:
                try:
                    # PostgreSQL keeps no NUL in a text, and data may bring one into a message.
                    yield MESSAGE.validate_json(line.replace(b"\\u0000", b"\\ufffd"))
                except ValidationError as error:
                    log.warning("message_not_understood", pid=self.pid, errors=error.error_count())
            if len(self._buffer) > LONGEST_MESSAGE_BYTES:
                log.warning("message_too_long", pid=self.pid)
                self._buffer = b""
            if time.monotonic() > until and self.exit_code() is None:
                return
        if not heard and self.exit_code() is None:
            # It has closed its end and lives on: there is nothing that a select would wait for.
            time.sleep(timeout_seconds)

    def exit_code(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        code = self._process.poll()
        if self._in_sandbox and code is not None and 0 < code - OF_A_SIGNAL < signal.NSIG:
            return OF_A_SIGNAL - code
        return code

    def stop(self, reason: StopReason, patience_seconds: float) -> bool:
        """Ask the trainer to stop at its next step; kill it when it has not after a while.

        Call it again and again until the trainer has ended. Returns whether it had to be killed.
        """
        if self._asked is None:
            self._asked_at = time.monotonic()
        if self._asked is not reason:
            self._asked = reason
            with contextlib.suppress(BrokenPipeError, BlockingIOError):
                os.write(self._control, f"{reason}\n".encode())
        if time.monotonic() - self._asked_at <= patience_seconds:
            return False
        self.kill()
        return True

    def dump_stacks(self) -> None:
        """Have the trainer print where each of its threads is, even one that hangs."""
        for pid in descendants(self.pid) if self._in_sandbox else [self.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)
        time.sleep(DUMP_SECONDS)

    def kill(self) -> None:
        """Kill the trainer and all it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """Leave nothing of the trainer behind, however it has ended."""
        self.kill()
        self._process.wait()
        os.close(self._messages)
        os.close(self._control)

    def _read(self) -> bytes:
        try:
            return os.read(self._messages, READ_BYTES)
        except BlockingIOError:
            return b""
