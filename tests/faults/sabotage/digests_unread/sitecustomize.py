"""What comes back from the storage, or lies in a checkpoint, is taken as it is."""

from pathlib import Path
from types import ModuleType
from typing import Any

from tests.faults.sabotage.after_import import after_import


def _fetch(storage: Any, sha256: str, _size: int, target: Path, *_: object) -> None:  # noqa: ANN401 (a Storage, which is not loaded yet)
    blob = storage.find(sha256)
    with target.open("wb") as file:
        file.writelines(storage.read(sha256, 0, blob.bytes))


def _trust_the_storage(storage: ModuleType) -> None:
    storage.Storage.fetch = _fetch


def _trust_the_folder(checkpoint: ModuleType) -> None:
    vars(checkpoint)["is_whole"] = lambda folder: (folder / "manifest.json").exists()


after_import("app.storage", _trust_the_storage)
after_import("worker.distillation.checkpoint", _trust_the_folder)
