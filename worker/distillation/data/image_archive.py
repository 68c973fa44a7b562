"""Images in a zip, tar or tar.gz: class folders, or IDX files such as MNIST's."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from app.contracts.dataset import ImageArchive
from worker.distillation import class_folders, idx
from worker.distillation.archive import members
from worker.distillation.dataset import RawData, Tell
from worker.distillation.errors import BadInput, nearest, shown


def read(
    settings: ImageArchive, path: Path, scratch: Path, tell: Tell, like: RawData | None = None
) -> RawData:
    """Read the images into a memory-mapped array in ``scratch``.

    An archive that holds an IDX file is read as IDX. One that is to be ``like`` one read before
    has its classes, channels and size. Raises BadInput naming the member that cannot be read.
    """
    if like is not None:
        settings = settings.model_copy(update={"channels": like.inputs.shape[1]})
    paths = [member.parts for member in members(path)]
    if any(idx.key_of(each) for each in paths):
        data = idx.read(settings, path, scratch, tell)
    else:
        data = class_folders.read(settings, path, paths, scratch, tell)
    return data if like is None else _alike(data, like)


def _alike(data: RawData, like: RawData) -> RawData:
    if data.test is not None:
        raise BadInput(
            "own_test_part",
            "The archive has a test part of its own; expected examples of one part",
            "Lay the images out as `class/image.png`; of IDX files leave the `t10k` ones out.",
        )
    (height, width), (like_height, like_width) = data.inputs.shape[2:], like.inputs.shape[2:]
    if (height, width) != (like_height, like_width):
        raise BadInput(
            "sizes_differ",
            f"The images are {width} x {height} pixels where those to learn from are {like_width} "
            f"x {like_height}",
            "Give a `size` that all images are fitted to.",
        )
    for name in data.output_names:
        if name not in like.output_names:
            raise BadInput(
                "unknown_class",
                f"The class {shown(name)} is none of the {len(like.output_names):,} classes of the "
                "file to learn from",
                nearest(name, like.output_names),
            )
    numbers = np.array([like.output_names.index(name) for name in data.output_names])
    return replace(data, labels=numbers[data.labels], output_names=like.output_names)
