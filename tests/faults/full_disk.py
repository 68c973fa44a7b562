"""A disk that fills up, or a power cut, at a chosen moment of what a process does to one folder.

Every operation that changes the folder is counted: each file opened to be written, its write, each
fsync, rename and new folder. At number ``at`` (from 1; 0 for never) and ever after it fails as on a
full disk, a write after half of its bytes; in the mode `killed` the process dies there instead.
"""

import builtins
import errno
import io
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Self


class Disk:
    """Counts what is done to one folder, and lets it fail from some number on."""

    def __init__(self, folder: str, mode: str, at: int) -> None:
        self._folder = folder
        self._mode = mode
        self._at = at
        self.count = 0

    def fails(self, path: object) -> bool:
        """Count one more operation, and say whether it is to fail."""
        if isinstance(path, int):
            path = Path(f"/proc/self/fd/{path}").readlink()
        if not str(path).startswith(f"{self._folder}/"):
            return False
        self.count += 1
        return 0 < self._at <= self.count

    def fail(self) -> None:
        if self._mode == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def checked(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        """Return an operation on a path, or on an open file, that fails when it is to."""

        def guarded(path: object, *arguments: object, **options: object) -> object:
            if self.fails(path):
                self.fail()
            return operation(path, *arguments, **options)

        return guarded

    def opened(self, path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 (as the function that it stands for)
        """Open a file; one that is written is counted, and so is each of its writes."""
        if isinstance(path, int) or not set(mode) & set("wax+"):
            return _OPEN(path, mode, *arguments, **options)
        if self.fails(path):
            self.fail()
        file = _OPEN(path, mode, *arguments, **options)
        file_write = file.write

        def write(data: Any) -> int:  # noqa: ANN401 (text or bytes)
            if self.fails(path):
                file_write(data[: len(data) // 2])
                file.flush()
                self.fail()
            return int(file_write(data))

        return _Written(file, write)


class _Written:
    """An open file with another ``write``."""

    def __init__(self, file: IO[Any], write: Callable[[Any], int]) -> None:
        self._file = file
        self.write = write

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


_OPEN: Any = builtins.open


def put_between(disk: Disk) -> None:
    """Have all that this process does from now on go through the disk."""
    for name in ("fsync", "rename", "replace", "mkdir"):
        setattr(os, name, disk.checked(getattr(os, name)))
    for module in (builtins, io):
        vars(module)["open"] = disk.opened
    # Else its copies go round Python's files.
    vars(shutil)["_USE_CP_SENDFILE"] = False
