"""Images in a zip, tar or tar.gz: class folders, or IDX files such as MNIST's."""

from pathlib import Path

from app.contracts.dataset import ImageArchive
from worker.distillation import class_folders, idx
from worker.distillation.archive import members
from worker.distillation.dataset import RawData, Tell


def read(settings: ImageArchive, path: Path, scratch: Path, tell: Tell) -> RawData:
    """Read the images into a memory-mapped array in ``scratch``.

    An archive that holds an IDX file is read as IDX. Raises BadInput naming the member that
    cannot be read.
    """
    paths = [member.parts for member in members(path)]
    if any(idx.key_of(each) for each in paths):
        return idx.read(settings, path, scratch, tell)
    return class_folders.read(settings, path, paths, scratch, tell)
