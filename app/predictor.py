"""The process that runs models for the API: started when it is first asked, and again if it ends.

What is in a model's file was written by a trainer, which is not trusted: so the process has limits,
an environment without secrets, a folder of its own with nothing in it, and no business with the
API's memory.
"""

import json
import socket
import subprocess
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from structlog import get_logger

from app.config import environment_for_child
from app.errors import Unavailable
from app.room import Room
from app.storage import Storage

log = get_logger(__name__)

MODULE = "worker.predictor"
ANSWER_SECONDS = 20.0
"""For one question; the first also waits for the process to start."""
WAITING, PATIENCE_SECONDS = 4, 10.0
READ_BYTES = 64 * 1024
LONGEST_ANSWER_BYTES = 16 * 1024 * 1024
MOST_FETCHED = 8
"""Models that are kept in files, where the storage is no folder."""

Reply = dict[str, Any]


class Predictor:
    """Answers one question at a time, of any thread."""

    def __init__(self) -> None:
        self._room = Room(
            "models are asked", places=1, waiting=WAITING, patience_seconds=PATIENCE_SECONDS
        )
        self._fetched = _Fetched()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None

    def ask(
        self, storage: Storage, models: Mapping[str, int], inputs: Sequence[JsonValue]
    ) -> Reply:
        """Ask models, each a blob's sha256 and size in bytes; see ``worker/predictor.py``.

        Raises:
            Unavailable: Others are being answered, or the process ended or took too long.
        """
        # Before a place is taken: it may take long, and has nothing to do with the process.
        paths = {one: str(self._fetched.get(storage, one, size)) for one, size in models.items()}
        question = {"models": list(models), "paths": paths, "inputs": inputs}
        with self._room.entered():
            try:
                return self._exchange(question, time.monotonic() + ANSWER_SECONDS)
            except (TimeoutError, ConnectionError, EOFError) as error:
                log.warning("predictor_ended", reason=type(error).__name__)
                self._end()
                raise Unavailable(
                    f"the models did not answer within {ANSWER_SECONDS:.0f} s, or need more memory "
                    "than they may have here; download them to run them"
                ) from error

    def close(self) -> None:
        self._end()
        self._fetched.close()

    def _end(self) -> None:
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._folder is not None:
            self._folder.cleanup()
        self._line = self._process = self._folder = None

    def _exchange(self, question: Reply, until: float) -> Reply:
        line = self._line or self._start()
        line.settimeout(max(until - time.monotonic(), 0.1))
        line.sendall(json.dumps(question).encode() + b"\n")
        reply = bytearray()
        while not reply.endswith(b"\n"):
            line.settimeout(max(until - time.monotonic(), 0.1))
            piece = line.recv(READ_BYTES)
            if not piece or len(reply) > LONGEST_ANSWER_BYTES:
                raise EOFError
            reply += piece
        found: Reply = json.loads(reply)
        return found

    def _start(self) -> socket.socket:
        self._folder = tempfile.TemporaryDirectory(prefix="stillhouse-predictor-")
        self._line, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (the command is ours)
                [sys.executable, "-P", "-m", MODULE, str(theirs.fileno())],
                # A model may name files beside it, and beside it is where the process is.
                cwd=self._folder.name,
                env=environment_for_child(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        return self._line


class _Fetched:
    """Models' files: those of the storage where it is a folder, else some that were brought."""

    def __init__(self) -> None:
        self._room = Room(
            "models are fetched", places=1, waiting=WAITING, patience_seconds=PATIENCE_SECONDS
        )
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._held: OrderedDict[str, Path] = OrderedDict()

    def get(self, storage: Storage, sha256: str, size: int) -> Path:
        path = storage.local_path(sha256)
        if path is not None:
            return path
        with self._room.entered():
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="stillhouse-models-")
            if sha256 not in self._held:
                path = Path(self._folder.name) / sha256
                # Bytes that are not there or not right, the process itself finds out.
                with suppress(FileNotFoundError, ValueError):
                    storage.fetch(sha256, size, path)
                self._held[sha256] = path
            self._held.move_to_end(sha256)
            while len(self._held) > MOST_FETCHED:
                self._held.popitem(last=False)[1].unlink(missing_ok=True)
            return self._held[sha256]

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
