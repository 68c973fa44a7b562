"""The folder of one run: what goes in, what each stage leaves, what comes out.

``inputs/<file id>`` and ``inputs/<model id>/`` are put there before the run. Each stage writes its
output into a temporary folder that takes its name when whole, so a folder that exists is finished.
Trainings, and the collection of knowledge, keep checkpoints in ``checkpoints`` meanwhile.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.contracts.message import OutputFile
from worker.distillation.manifest import listed

KEPT = re.compile(
    r"teacher(_\d+)?|assistants|(assistant|generation)_\d+(_knowledge)?|knowledge|baseline|student"
    r"|evaluation"
)
"""Outputs that took long to make: a run goes on with them, on another machine, too."""


class Workspace:
    """The layout of one run's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listings: dict[str, list[OutputFile]] = {}

    def input(self, identifier: str) -> Path:
        """Return where an uploaded file, or a registered model's folder, lies."""
        return self.root / "inputs" / identifier

    def stage(self, name: str) -> Path:
        """Return a stage's finished output: `prepared`, `teacher`, `knowledge`, `outputs`, ..."""
        return self.root / name

    def is_finished(self, name: str) -> bool:
        return self.stage(name).is_dir()

    def finished(self) -> list[str]:
        """Return the names of the outputs that the job need not make again, in order."""
        return sorted(
            path.name for path in self.root.iterdir() if path.is_dir() and KEPT.fullmatch(path.name)
        )

    def listing(self, name: str) -> list[OutputFile]:
        """Return a finished output's files; they never change, so each is read once."""
        if name not in self._listings:
            self._listings[name] = listed(self.stage(name))
        return self._listings[name]

    @contextmanager
    def writing(self, name: str, *, resuming: bool = False) -> Iterator[Path]:
        """Give a temporary folder that becomes the stage's output if the block does not raise.

        It is empty, or if ``resuming`` as an earlier run has left it.
        """
        temporary = self.root / f"{name}.partial"
        if not resuming:
            shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True, exist_ok=True)
        yield temporary
        for path in [*temporary.rglob("*"), temporary]:
            _sync(path)
        temporary.rename(self.stage(name))
        _sync(temporary.parent)


def write_durably(path: Path, text: str) -> None:
    """Write a file so that a power cut leaves the old one or the new one, whole."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    _sync(temporary)
    temporary.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Make a file or folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
