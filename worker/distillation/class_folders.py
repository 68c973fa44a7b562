"""Images in class folders of an archive: `cat/1.png`, or `train/cat/1.png` and `test/...`.

Shapes: N = examples, C = channels, H, W = height and width in pixels.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from app.contracts.data_limits import BESIDE_IMAGES as BESIDES
from app.contracts.data_limits import IMAGE_SUFFIXES as SUFFIXES
from app.contracts.data_limits import MAX_IMAGE_BYTES
from app.contracts.dataset import ImageArchive
from worker.distillation import pictures
from worker.distillation.archive import members
from worker.distillation.dataset import RawData, Tell, class_order, inputs_file
from worker.distillation.errors import BadInput

MAX_DECODED_BYTES = 16 * 2**30
_LAYOUT_HINT = (
    "Lay the images out as `class/image.png`, or as `train/class/...` and `test/class/..."
)


@dataclass(frozen=True)
class Place:
    """Where an image stands among the examples."""

    class_name: str
    test: bool | None
    """None where the archive has no test part of its own."""


def read(
    settings: ImageArchive, path: Path, paths: Iterable[tuple[str, ...]], scratch: Path, tell: Tell
) -> RawData:
    """Read the images twice: once for their sizes, once for their pixels.

    ``paths`` are those of all members. Examples are in the order of their names, however they
    were packed. Raises BadInput naming the member that cannot be used.
    """
    places = _places(sorted(each for each in paths if is_image(each)))
    shape = _shape(settings, path, places, tell)
    if len(places) * math.prod(shape) > MAX_DECODED_BYTES:
        raise BadInput(
            "too_large",
            f"{len(places):,} images of {shape} decode to more than {MAX_DECODED_BYTES / 2**30:.0f}"
            " GiB",
            "Give a smaller `size`.",
        )
    output_names = class_order({place.class_name for place in places.values()})
    classes = {name: number for number, name in enumerate(output_names)}
    labels = np.array([classes[place.class_name] for place in places.values()], np.int64)
    tests = [place.test for place in places.values()]
    return RawData(
        inputs=_pixels(settings, path, list(places), shape, scratch, tell),
        labels=labels,
        output_names=output_names,
        test=np.array(tests, np.bool_) if None not in tests else None,
    )


def is_image(parts: tuple[str, ...]) -> bool:
    suffix = PurePosixPath(parts[-1]).suffix.lower()
    if suffix not in SUFFIXES and suffix not in BESIDES:
        raise BadInput(
            "unknown_file",
            f'"{"/".join(parts)}" is neither an image ({" ".join(SUFFIXES)}) nor a text beside '
            "them",
            "Convert it or take it out; a nested archive is not opened.",
        )
    return suffix in SUFFIXES


def _places(paths: list[tuple[str, ...]]) -> dict[tuple[str, ...], Place]:
    if not paths:
        raise BadInput(
            "no_images", f"The archive holds no images ({' '.join(SUFFIXES)})", _LAYOUT_HINT
        )
    num_wrapping = _num_wrapping(paths)
    inner = {path: path[num_wrapping:] for path in paths}
    split = {path[0] for path in inner.values()} == {"train", "test"}
    depth = 3 if split else 2
    expected = "in train/CLASS or test/CLASS" if split else "in one folder, its class"
    for path, rest in inner.items():
        if len(rest) != depth:
            raise BadInput(
                "bad_layout",
                f'"{"/".join(path)}" does not lie where images are expected, {expected}',
                _LAYOUT_HINT,
            )
    return {
        path: Place(rest[-2], rest[0] == "test" if split else None) for path, rest in inner.items()
    }


def _num_wrapping(paths: list[tuple[str, ...]]) -> int:
    """Count the folders around everything, above the class folders."""
    number = 0
    while all(len(path) > number + 2 and path[number] == paths[0][number] for path in paths):
        number += 1
    return number


def _images(
    path: Path, wanted: Iterable[tuple[str, ...]], tell: Tell, reading: int
) -> Iterator[tuple[tuple[str, ...], str, bytes]]:
    """Yield (path, name, content) of each image, in the archive's order; one of two readings."""
    rows = set(wanted)
    done = reading * len(rows)
    for member in members(path):
        if member.parts in rows:
            yield member.parts, member.name, member.read(MAX_IMAGE_BYTES)
            done += 1
            tell(done, 2 * len(rows))


def _shape(
    settings: ImageArchive, path: Path, places: Iterable[tuple[str, ...]], tell: Tell
) -> tuple[int, int, int]:
    """Return the (C, H, W) that all images will have."""
    images = _images(path, places, tell, reading=0)
    _, first_name, content = next(images)
    first = pictures.look(content, first_name)
    grey = first.grey
    for _, name, content in images:
        seen = pictures.look(content, name)
        grey = grey and seen.grey
        if settings.size is None and (seen.width, seen.height) != (first.width, first.height):
            raise BadInput(
                "sizes_differ",
                f'"{name}" is {seen.width} x {seen.height} pixels where "{first_name}" is '
                f"{first.width} x {first.height}",
                "Give a `size` that all images are fitted to.",
            )
    channels = settings.channels or (1 if grey else 3)
    return channels, settings.size or first.height, settings.size or first.width


def _pixels(
    settings: ImageArchive,
    path: Path,
    order: list[tuple[str, ...]],
    shape: tuple[int, int, int],
    folder: Path,
    tell: Tell,
) -> npt.NDArray[np.uint8]:
    """Return (N, C, H, W), memory-mapped in ``folder``."""
    rows = {parts: row for row, parts in enumerate(order)}
    pixels = np.lib.format.open_memmap(inputs_file(folder), "w+", np.uint8, (len(order), *shape))
    for parts, name, content in _images(path, order, tell, reading=1):
        pixels[rows[parts]] = pictures.decode(content, name, shape[0], settings.size)
    return pixels
