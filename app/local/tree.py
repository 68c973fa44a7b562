"""A tree of processes: starts them, restarts those that die, and ends all of them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from structlog import get_logger

from app.local import leash

log = get_logger(__name__)

LOOK_SECONDS = 0.1
SHORTEST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""A process that has run this long has recovered; its next restart is quick again."""


@dataclass(frozen=True)
class Command:
    """What to run as a process."""

    name: str
    arguments: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    """Added to this process's own."""
    log_file: Path | None = None
    """Where its output is appended; None lets it share this process's."""
    patience_seconds: float = 10.0
    """How long it may take to end when asked to, before it is killed."""
    asked_first: bool = False
    """Asked to end with all others like it, before the rest: a worker asked alone would give its
    job back to the next."""


class Child:
    """One command, and the process that runs it at present."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._start_after = 0.0
        self._wait_seconds = SHORTEST_WAIT_SECONDS

    def start(self) -> None:
        """Start a process in a session of its own, so that a Ctrl-C does not reach it."""
        bound = [sys.executable, "-I", "-S", leash.__file__, str(os.getpid())]
        output = None if self.command.log_file is None else self.command.log_file.open("ab")
        try:
            self._process = subprocess.Popen(  # noqa: S603 (the command is ours)
                [*bound, *self.command.arguments],
                env=os.environ | self.command.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            if output is not None:
                output.close()
        self._started_at = time.monotonic()

    def tend(self) -> None:
        """Start the process again when it has ended, each time a little later."""
        now = time.monotonic()
        if self._process is not None:
            if self._process.poll() is None:
                return
            if now - self._started_at > STEADY_SECONDS:
                self._wait_seconds = SHORTEST_WAIT_SECONDS
            exit_code = self._process.returncode
            self._sweep()
            log.warning(
                "process_ended",
                process=self.command.name,
                exit_code=exit_code,
                restart_in_seconds=self._wait_seconds,
            )
            self._start_after = now + self._wait_seconds
            self._wait_seconds = min(2 * self._wait_seconds, LONGEST_WAIT_SECONDS)
        elif now >= self._start_after:
            self.start()

    def ask(self) -> None:
        """Ask the process to end, without waiting for it."""
        if self._process is not None:
            self._process.terminate()

    def stop(self, hurry: threading.Event) -> None:
        """Ask the process to end, then kill what is left of it and of all it has started."""
        if self._process is None:
            return
        self._process.terminate()
        give_up = time.monotonic() + self.command.patience_seconds
        while self._process.poll() is None:
            if hurry.is_set() or time.monotonic() > give_up:
                log.warning("process_killed", process=self.command.name)
                break
            time.sleep(LOOK_SECONDS)
        self._sweep()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def _sweep(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class Tree:
    """Processes that live and end together; the last started is the first to end."""

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._stop = threading.Event()
        self._hurry = threading.Event()

    def heed_signals(self) -> None:
        """Let SIGTERM or Ctrl-C end the tree, and a second one end it at once."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self.ask_to_stop())

    def ask_to_stop(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def start(self, command: Command) -> None:
        child = Child(command)
        self._children.append(child)
        child.start()

    def tend_until(self, done: Callable[[], bool] = lambda: False) -> bool:
        """Keep all processes running until ``done``; return whether it was, or one must stop."""
        while not self._stop.is_set():
            for child in self._children:
                child.tend()
            if done():
                return True
            self._stop.wait(LOOK_SECONDS)
        return False

    def stop(self) -> None:
        """End all processes; when this returns there is none."""
        for child in self._children:
            if child.command.asked_first:
                child.ask()
        for child in reversed(self._children):
            child.stop(self._hurry)
        self._children.clear()

    def pids(self) -> dict[str, int | None]:
        return {child.command.name: child.pid for child in self._children}
