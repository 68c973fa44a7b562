"""How a trainer's process starts, speaks and ends.

It runs in a session of its own, with a pipe for its messages, a file for all else it prints, and
an environment without the service's secrets.
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

from app.contracts.message import MESSAGE, AnyMessage

log = get_logger(__name__)

PASSED_ON = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV"),
    *("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "OMP_NUM_THREADS"),
    *("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"),
)
"""The only variables a trainer sees: it has no use for keys or addresses."""
LONGEST_MESSAGE_BYTES = 4 * 1024 * 1024
READ_BYTES = 64 * 1024


class Trainer:
    """A running `python -m worker.distillation`."""

    def __init__(self, process: subprocess.Popen[bytes], messages: int) -> None:
        self._process = process
        self._messages = messages
        self._buffer = b""
        self._asked_at: float | None = None

    @classmethod
    def start(cls, folder: Path, *, use_gpu: bool) -> Self:
        """Start a trainer on the workspace ``folder``, which holds `spec.json` and `inputs`."""
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        if not use_gpu:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        command = [sys.executable, "-P", "-u", "-m", "worker.distillation"]
        command += [str(folder / "spec.json"), str(folder)]
        command += ["--messages-fd", str(write_end), "--parent-pid", str(os.getpid())]
        with (folder / "trainer.log").open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 (the command is ours)
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[write_end],
                start_new_session=True,
            )
        os.close(write_end)
        return cls(process, read_end)

    @property
    def pid(self) -> int:
        return self._process.pid

    def messages(self, timeout_seconds: float) -> Iterator[AnyMessage]:
        """Yield the messages that have come, waiting at most a while for the first."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._messages, selectors.EVENT_READ)
            if not selector.select(timeout_seconds):
                return
        while piece := self._read():
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

    def exit_code(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def stop(self, patience_seconds: float) -> None:
        """Ask the trainer to stop at its next step; kill it when it has not after a while.

        Call it again and again until the trainer has ended.
        """
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
        elif time.monotonic() - self._asked_at > patience_seconds:
            self.kill()

    def kill(self) -> None:
        """Kill the trainer and all it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """Leave nothing of the trainer behind, however it has ended."""
        self.kill()
        self._process.wait()
        os.close(self._messages)

    def _read(self) -> bytes:
        try:
            return os.read(self._messages, READ_BYTES)
        except BlockingIOError:
            return b""
