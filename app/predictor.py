"""The process that runs models for the API: started when it is first asked, and again if it ends.

What is in a model's file was written by a trainer, which is not trusted: so the process has limits,
an environment without secrets, and no business with the API's memory.
"""

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from structlog import get_logger

from app.config import environment_for_child
from app.errors import Unavailable
from app.storage import Storage

log = get_logger(__name__)

MODULE = "worker.predictor"
PATIENCE_SECONDS = 20.0
"""For one question; the first also waits for the process to start."""
READ_BYTES = 64 * 1024
LONGEST_ANSWER_BYTES = 16 * 1024 * 1024

Reply = dict[str, Any]


class Predictor:
    """Answers one question at a time, of any thread."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None

    def ask(
        self, storage: Storage, models: Mapping[str, int], inputs: Sequence[JsonValue]
    ) -> Reply:
        """Ask models, each a blob's sha256 and size in bytes; see ``worker/predictor.py``.

        Raises:
            Unavailable: Others are being answered, or the process ended or took too long.
            FileNotFoundError: A blob is gone.
            ValueError: A blob is damaged.
        """
        until = time.monotonic() + PATIENCE_SECONDS
        if not self._turn.acquire(timeout=PATIENCE_SECONDS):
            raise Unavailable("other questions are being answered; try again soon")
        try:
            return self._ask(storage, models, {"models": list(models), "inputs": inputs}, until)
        except (TimeoutError, ConnectionError, EOFError) as error:
            log.warning("predictor_ended", reason=type(error).__name__)
            self.close()
            raise Unavailable(
                f"the models did not answer within {PATIENCE_SECONDS:.0f} s, or need more memory "
                "than they may have here; download them to run them"
            ) from error
        finally:
            self._turn.release()

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._line = self._process = None

    def _ask(
        self, storage: Storage, models: Mapping[str, int], question: Reply, until: float
    ) -> Reply:
        reply = self._exchange({**question, "paths": {}}, until)
        if "missing" not in reply:
            return reply
        with _fetched(storage, {one: models[one] for one in reply["missing"]}) as paths:
            return self._exchange({**question, "paths": paths}, until)

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
        self._line, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (the command is ours)
                [sys.executable, "-P", "-m", MODULE, str(theirs.fileno())],
                env=environment_for_child(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        return self._line


@contextmanager
def _fetched(storage: Storage, models: Mapping[str, int]) -> Iterator[dict[str, str]]:
    """Bring blobs into files, for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="stillhouse-predict-") as folder:
        for sha256, size in models.items():
            storage.fetch(sha256, size, Path(folder) / sha256)
        yield {sha256: str(Path(folder) / sha256) for sha256 in models}
