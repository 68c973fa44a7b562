"""A stage's output, and a checkpoint, are written where they will stay."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.faults.sabotage.after_import import after_import


@contextmanager
def _writing(workspace: Any, name: str, *, resuming: bool = False) -> Iterator[Path]:  # noqa: ANN401 (a Workspace, which is not loaded yet)
    folder: Path = workspace.stage(name)
    folder.mkdir(parents=True, exist_ok=True)
    yield folder


def _change(workspace: ModuleType) -> None:
    workspace.Workspace.writing = _writing


after_import("worker.distillation.workspace", _change)
