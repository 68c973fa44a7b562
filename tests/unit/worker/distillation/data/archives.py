"""Small archives of every kind, made in memory for the tests of `image_archive`."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Contents = Mapping[str, bytes]


def image(
    colour: object = 0, size: tuple[int, int] = (6, 6), mode: str = "L", kind: str = "PNG"
) -> bytes:
    content = io.BytesIO()
    Image.new(mode, size, colour).save(content, kind)  # type: ignore[arg-type]  # int or tuple, by mode
    return content.getvalue()


def idx(values: npt.NDArray[np.uint8]) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + (
        values.tobytes()
    )


def write_zip(path: Path, contents: Contents) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, contents: Contents) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def write_tar_gz(path: Path, contents: Contents) -> Path:
    write_tar(path, contents)
    path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    return path


PACKERS = {"zip": write_zip, "tar": write_tar, "tar.gz": write_tar_gz}
