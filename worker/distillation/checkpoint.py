"""Checkpoints of a run: when one is due, how it is written, and which is the newest that is whole.

One is a folder `checkpoints/<step>-<role>` of a training, or of half-collected knowledge, together
with the outputs of the stages before. It is written beside its place, made durable and renamed, its
manifest last; so a power cut leaves it whole or not there.
"""

import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from app.contracts.job import JobSpec, Phase
from app.contracts.message import CheckpointWritten, OutputFile, StopReason
from worker.distillation.manifest import file_of, is_whole, listed, write_manifest
from worker.distillation.reporting import Reporter
from worker.distillation.workspace import Workspace

FOLDER = "checkpoints"
ENVIRONMENT_FILE = "environment.json"
"""What kind of machine the run is on; see ``environment.py``."""
KEPT = 2
MOST_OF_THE_TIME = 0.01
"""That writing checkpoints may take; storing them, which the worker does beside, takes about as
much again. So a large model's come more seldom than the spec asks."""
KEEPING = (StopReason.DRAIN, StopReason.PAUSE)
UNNAMED = {"name", "metadata", "priority", "resources"}
"""Parts of a spec that change nothing of what is trained."""


@dataclass(frozen=True)
class Mark:
    """Where in a run a checkpoint stands."""

    phase: Phase
    role: str
    step: int
    epoch: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)


class Checkpoints:
    """A stage's view of its run's checkpoints; its clock starts when it is made."""

    def __init__(self, spec: JobSpec, workspace: Workspace, reporter: Reporter) -> None:
        self._workspace = workspace
        self._reporter = reporter
        self._every_seconds = spec.resources.checkpoint_every_seconds
        self._spec = spec
        self._due_at = time.monotonic() + self._every_seconds

    @property
    def due(self) -> bool:
        """Say whether to write one at this step boundary: it is time, or the run is to stop."""
        return self._reporter.look() in KEEPING or time.monotonic() >= self._due_at

    def write(self, mark: Mark, fill: Callable[[Path], None]) -> None:
        """Have ``fill`` write a checkpoint into an empty folder, and tell of it once it is whole.

        Nothing is written or told where it is there already, as in a run that is stopped right
        after it went on.

        Raises:
            OSError: the disk is full; what was there before is as it was.
        """
        started = time.monotonic()
        name = f"{FOLDER}/{mark.step:010}-{mark.role}"
        folder = self._workspace.stage(name)
        if not is_whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
            with self._workspace.writing(name) as temporary:
                fill(temporary)
                write_manifest(temporary)
            for older in self._of(mark.role)[KEPT:]:
                shutil.rmtree(older)
            self.announce(mark, name)
        now = time.monotonic()
        self._due_at = now + max(self._every_seconds, (now - started) / MOST_OF_THE_TIME)

    def announce(self, mark: Mark, folder: str | None) -> None:
        """Tell of a checkpoint that lies in ``folder``; of None, between two stages."""
        files = [file for name in self._workspace.finished() for file in self._listing(name)]
        if folder is not None:
            own = listed(self._workspace.stage(folder))
            assert own, f"{folder} has gone"  # noqa: S101 (it was just written)
            files += self._inside(folder, own)
        if (self._workspace.root / ENVIRONMENT_FILE).is_file():
            files.append(file_of(self._workspace.root, ENVIRONMENT_FILE))
        self._reporter.send(
            CheckpointWritten(
                phase=mark.phase,
                role=mark.role if folder else None,
                folder=folder,
                step=mark.step if folder else None,
                epoch=mark.epoch,
                metrics=mark.metrics,
                files=files,
            )
        )

    def newest(self, role: str) -> Path | None:
        """Return the newest checkpoint whose every byte is as it was written; damaged ones go."""
        for folder in self._of(role):
            if is_whole(folder):
                return folder
            self._reporter.warn(f"the checkpoint {folder.name} is damaged and not used")
            shutil.rmtree(folder)
        return None

    def discard(self, role: str) -> None:
        """Remove checkpoints that are of another training; they would be taken for this one's."""
        for folder in self._of(role):
            shutil.rmtree(folder)

    def clear(self) -> None:
        """Remove the checkpoints of a stage that has ended."""
        shutil.rmtree(self._workspace.stage(FOLDER), ignore_errors=True)

    def belonging(self) -> dict[str, str]:
        """Return what a training is of: digests of the spec and of the stages before it."""
        text = self._spec.model_dump_json(exclude=UNNAMED)
        digests = {"spec": hashlib.sha256(text.encode()).hexdigest()}
        for name in self._workspace.finished():
            lines = "\n".join(f"{file.path} {file.sha256}" for file in self._listing(name))
            digests[name] = hashlib.sha256(lines.encode()).hexdigest()
        return digests

    def _of(self, role: str) -> list[Path]:
        """Return a role's checkpoints, the newest first."""
        found = self._workspace.stage(FOLDER).glob(f"*-{role}")
        return sorted(found, reverse=True)

    def _listing(self, name: str) -> list[OutputFile]:
        return self._inside(name, self._workspace.listing(name))

    @staticmethod
    def _inside(folder: str, files: list[OutputFile]) -> list[OutputFile]:
        return [file.model_copy(update={"path": f"{folder}/{file.path}"}) for file in files]
