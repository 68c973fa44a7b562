"""Decode one image of an untrusted file, safely, to the channels and size that are wanted.

Shapes: C = channels, H, W = height and width in pixels.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from worker.distillation.errors import BadInput

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
MAX_PIXELS = 25_000_000
_GREY_MODES = ("1", "L", "LA")
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
# What Pillow raises on damaged data, by format; a warning is turned into an exception.
_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    SyntaxError,
    LookupError,
    ArithmeticError,
    MemoryError,
    Warning,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class Look:
    """What an image's header says."""

    width: int
    height: int
    grey: bool


def look(content: bytes, name: str) -> Look:
    """Read an image's header. Raises BadInput, naming the image, if it is not one we decode."""
    with _opened(content, name) as image:
        return Look(*image.size, grey=image.mode in _GREY_MODES)


def decode(content: bytes, name: str, channels: int, side: int | None) -> npt.NDArray[np.uint8]:
    """Return the image, or the first frame, as (C, H, W) with 1 or 3 channels.

    Where ``side`` is given it is fitted to that square. What is transparent becomes black. How a
    camera was held (EXIF) is left aside, as the field's loaders do.
    """
    with _opened(content, name) as image:
        image.load()
        return fitted(_opaque(image), channels, side)


def fitted(image: Image.Image, channels: int, side: int | None) -> npt.NDArray[np.uint8]:
    """Return the image as (C, H, W); in a square of ``side`` pixels if that is given.

    It is made larger or smaller until it just fits, keeping its proportions, and lies in the
    middle of black.
    """
    image = image.convert("L" if channels == 1 else "RGB")
    if side is not None and image.size != (side, side):
        scale = side / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        resized = image.resize(size, Image.Resampling.BILINEAR)
        image = Image.new(image.mode, (side, side))
        image.paste(resized, ((side - size[0]) // 2, (side - size[1]) // 2))
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, image)


@contextmanager
def _opened(content: bytes, name: str) -> Iterator[Image.Image]:
    """Open an image lazily; what fails inside the block is the image's fault."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                _check(image, name)
                yield image
    except UnidentifiedImageError as error:
        raise BadInput(
            "not_an_image",
            f'"{name}" is no whole image in any of {", ".join(FORMATS)}',
        ) from error
    except _BROKEN as error:
        raise BadInput(
            "broken_image", f'"{name}" is damaged or cut off: {str(error) or type(error).__name__}'
        ) from error


def _check(image: Image.Image, name: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise BadInput(
            "image_too_large",
            f'"{name}" is {image.width} x {image.height} pixels; an image may have '
            f"{MAX_PIXELS // 1_000_000} million",
        )
    if image.mode not in (*_GREY_MODES, *_COLOUR_MODES):
        raise BadInput(
            "unknown_pixels",
            f'"{name}" has pixels of the kind {image.mode}; 8 bits a channel are expected',
            "Convert it to 8-bit grey or RGB.",
        )
