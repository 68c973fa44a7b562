"""Images in IDX files, as MNIST comes: a big-endian header, then unsigned bytes.

The format is described with http://yann.lecun.com/exdb/mnist/.

Shapes: N = examples, C = channels, H, W = height and width in pixels.
"""

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.contracts.data_limits import IDX_NAME
from app.contracts.dataset import ImageArchive
from worker.distillation.archive import Member, members
from worker.distillation.dataset import RawData, Tell, class_order, inputs_file
from worker.distillation.errors import BadInput
from worker.distillation.pictures import MAX_PIXELS, fitted

MAX_DECODED_BYTES = 16 * 2**30
MAX_EXAMPLES = 10_000_000
BYTES_AT_ONCE = 2**20
_UNSIGNED_BYTES = 8  # the header's code of the type of its values
_REQUIRED = (("train", "images"), ("train", "labels"))

Key = tuple[str, str]  # ("train" or "t10k", "images" or "labels")


@dataclass(frozen=True)
class Header:
    name: str
    sizes: tuple[int, ...]
    """[N, H, W] of images, [N] of labels."""


def key_of(parts: tuple[str, ...]) -> Key | None:
    """Say which of the four files a member is by its name, or that it is none."""
    match = IDX_NAME.fullmatch(parts[-1])
    return (match[1], match[2]) if match else None


def read(settings: ImageArchive, path: Path, scratch: Path, tell: Tell) -> RawData:
    """Read the train files and, where there are any, the `t10k` files as the test part.

    Raises BadInput naming the file that is missing, damaged or does not fit its fellow.
    """
    headers = _headers(path)
    _check(settings, headers)
    num_train = headers["train", "images"].sizes[0]
    has_test = ("t10k", "images") in headers
    num_examples = num_train + (headers["t10k", "images"].sizes[0] if has_test else 0)
    height, width = headers["train", "images"].sizes[1:]
    side = settings.size
    shape = (settings.channels or 1, side or height, side or width)
    if num_examples > MAX_EXAMPLES or num_examples * math.prod(shape) > MAX_DECODED_BYTES:
        raise BadInput("too_large", f"{num_examples:,} images of {shape} are more than are read")

    pixels = np.lib.format.open_memmap(inputs_file(scratch), "w+", np.uint8, (num_examples, *shape))
    values = np.empty(num_examples, np.uint8)
    for key, member in _files(path):
        start = num_train if key[0] == "t10k" else 0
        for first, block in _blocks(member, key[1]):
            rows = slice(start + first, start + first + len(block))
            if key[1] == "labels":
                values[rows] = block
            else:
                pixels[rows] = _as_images(block, shape, side)
            tell(rows.stop, num_examples)
    output_names = class_order({str(value) for value in np.unique(values)})
    labels = np.searchsorted(np.array([int(name) for name in output_names]), values)
    test = np.arange(num_examples) >= num_train if has_test else None
    return RawData(pixels, labels.astype(np.int64), output_names, test)


def _files(path: Path) -> Iterator[tuple[Key, Member]]:
    for member in members(path):
        key = key_of(member.parts)
        if key is not None:
            yield key, member


def _headers(path: Path) -> dict[Key, Header]:
    headers: dict[Key, Header] = {}
    for key, member in _files(path):
        if key in headers:
            raise BadInput(
                "duplicate_member",
                f'"{headers[key].name}" and "{member.name}" are both the {key[0]} {key[1]}',
            )
        with member.reading():
            headers[key] = Header(member.name, _sizes(member.opened(), key[1], member.name))
    return headers


def _sizes(stream: IO[bytes], content: str, name: str) -> tuple[int, ...]:
    """Read a header: two zeros, the type, the number of dimensions, and the size of each."""
    num_dimensions = 3 if content == "images" else 1
    start = stream.read(4)
    expected = bytes([0, 0, _UNSIGNED_BYTES, num_dimensions])
    if start != expected:
        raise BadInput(
            "not_idx",
            f'"{name}" starts with {start.hex(" ") or "nothing"}, where IDX {content} start with '
            f"{expected.hex(' ')}",
        )
    sizes = stream.read(4 * num_dimensions)
    if len(sizes) < 4 * num_dimensions:
        raise _cut_off(name)
    return struct.unpack(f">{num_dimensions}I", sizes)


def _check(settings: ImageArchive, headers: Mapping[Key, Header]) -> None:
    has_test = any(part == "t10k" for part, _ in headers)
    needed = [*_REQUIRED, ("t10k", "images"), ("t10k", "labels")] if has_test else _REQUIRED
    for part, content in needed:
        if (part, content) not in headers:
            raise BadInput(
                "missing_file", f"The archive has IDX files, but not the {part} {content}"
            )
    for part in ("train", "t10k") if has_test else ("train",):
        images, labels = headers[part, "images"], headers[part, "labels"]
        if images.sizes[0] != labels.sizes[0] or 0 in images.sizes:
            raise BadInput(
                "counts_differ",
                f'"{images.name}" says it holds {" x ".join(map(str, images.sizes))} values, '
                f'"{labels.name}" {labels.sizes[0]} labels',
            )
        if math.prod(images.sizes[1:]) > MAX_PIXELS:
            raise BadInput(
                "image_too_large",
                f'"{images.name}" says its images are of {images.sizes[1:]} pixels',
            )
    sizes = {header.sizes[1:] for (_, content), header in headers.items() if content == "images"}
    if settings.size is None and len(sizes) > 1:
        raise BadInput(
            "sizes_differ",
            "The train and t10k images differ in size",
            "Give a `size` that all images are fitted to.",
        )


def _blocks(member: Member, content: str) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Yield (number of its first example, values) of some examples at a time."""
    stream = member.opened()
    with member.reading():
        count, *sizes = _sizes(stream, content, member.name)
        num_bytes = math.prod(sizes)
        at_once = max(1, BYTES_AT_ONCE // num_bytes)
        for first in range(0, count, at_once):
            number = min(at_once, count - first)
            values = stream.read(number * num_bytes)
            if len(values) < number * num_bytes:
                raise _cut_off(member.name)
            yield first, np.frombuffer(values, np.uint8).reshape(number, *sizes)
        if stream.read(1):
            raise BadInput("broken_file", f'"{member.name}" is longer than its header says')


def _cut_off(name: str) -> BadInput:
    return BadInput("broken_file", f'"{name}" is cut off: it is shorter than its header says')


def _as_images(
    block: npt.NDArray[np.uint8], shape: tuple[int, int, int], side: int | None
) -> npt.NDArray[np.uint8]:
    """Return grey images (N, H, W) as (N, C, H, W) of ``shape``."""
    if block.shape[1:] == shape[1:]:
        return block[:, None]  # to three channels by broadcasting, where they are asked for
    return np.stack([fitted(Image.fromarray(image), shape[0], side) for image in block])
