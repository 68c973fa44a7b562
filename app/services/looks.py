"""Has a child process look at an uploaded file, so that no file can harm this one."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from structlog import get_logger

import app
from app.contracts.registry import File
from app.errors import Conflict
from app.room import Room
from app.storage import Storage

log = get_logger(__name__)

WALL_SECONDS = 20.0
MOST_REASON = 300
MOST_AT_ONCE, WAITING = 4, 4
PATIENCE_SECONDS = 10.0
MOST_FETCHED_BYTES = 512 * 2**20
"""A larger file is only looked at where it lies in a folder."""

_ROOM = Room(
    "files are looked at", places=MOST_AT_ONCE, waiting=WAITING, patience_seconds=PATIENCE_SECONDS
)


class NoLook(Exception):
    """The look came to no answer: why, by code and in words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def look(storage: Storage, file: File, module: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Run a module that looks at its standard input, and return what it prints.

    Raises:
        Conflict: The file is too large to be fetched for a look.
        NoLook: The look had to be ended, or broke.
        Unavailable: Others are being looked at.
    """
    with _ROOM.entered(), _opened(storage, file) as content:
        return _run(content, file, [module, *arguments])


def _run(content: IO[bytes], file: File, asked: list[str]) -> dict[str, Any]:
    # Nothing of this process's environment: its settings and secrets are no business of a file's.
    environment = {"PYTHONPATH": str(Path(app.__file__).parents[1]), "PYTHONUTF8": "1"}
    try:
        done = subprocess.run(  # noqa: S603 (the command is ours)
            [sys.executable, "-S", "-s", "-P", "-m", *asked],
            stdin=content,
            capture_output=True,
            env=environment,
            cwd="/",
            timeout=WALL_SECONDS,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        if error.returncode > 0:
            # Not the file's fault, whatever it holds: a look has an answer for all of it.
            last = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            log.exception("preview_crashed", file_id=file.id, reason=last[:MOST_REASON])
            message = "the look at the file failed; the log says why"
            raise NoLook("not_looked_at", message) from None
        raise _ended(file, f"signal {-error.returncode}") from None
    except subprocess.TimeoutExpired:
        raise _ended(file, f"{WALL_SECONDS:.0f} s") from None
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _ended(file: File, reason: str) -> NoLook:
    log.warning("preview_failed", file_id=file.id, reason=reason)
    message = "a look at the file had to be ended: it takes more time or memory than a look may"
    return NoLook("too_large", message)


@contextmanager
def _opened(storage: Storage, file: File) -> Iterator[IO[bytes]]:
    path = storage.local_path(file.sha256)
    if path is not None:
        with path.open("rb") as content:
            yield content
        return
    if file.bytes > MOST_FETCHED_BYTES:
        raise Conflict(f"the file has {file.bytes} bytes; at most {MOST_FETCHED_BYTES} are fetched")
    with tempfile.TemporaryFile() as content:
        for chunk in storage.read(file.sha256, 0, file.bytes):
            content.write(chunk)
        content.seek(0)
        yield content
