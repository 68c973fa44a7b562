"""The first of Fashion-MNIST's images, for benchmarks: as an archive, and as tensors."""

import gzip
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

FOLDER = Path(__file__).parents[1] / ".venv" / "fashion-mnist"
NUM_CLASSES = 10
MEAN, STD = 73.0, 90.0
"""Of all pixels, rounded."""


def write_archive(path: Path, num_train: int, num_test: int) -> None:
    """Write a tar of IDX files, as a user would upload."""
    with tarfile.open(path, "w") as archive:
        for part, number in (("train", num_train), ("t10k", num_test)):
            for content in ("images-idx3", "labels-idx1"):
                name = f"{part}-{content}-ubyte"
                data = gzip.compress(_first(name, number))
                member = tarfile.TarInfo(f"{name}.gz")
                member.size = len(data)
                archive.addfile(member, BytesIO(data))


def padded_images(number: int) -> tuple[Tensor, Tensor]:
    """Return standardised images (number, 3, 32, 32) and labels (number) of the train part."""
    pixels = np.frombuffer(_first("train-images-idx3-ubyte", number), np.uint8, offset=16)
    labels = np.frombuffer(_first("train-labels-idx1-ubyte", number), np.uint8, offset=8)
    images = F.pad(torch.tensor(pixels).reshape(number, 1, 28, 28), (2, 2, 2, 2))
    standardised = (images.expand(-1, 3, -1, -1) - MEAN) / STD
    return standardised.contiguous(), torch.tensor(labels).long()


def _first(name: str, number: int) -> bytes:
    """Return an IDX file cut down to its first examples, its header saying so."""
    content = gzip.decompress((FOLDER / f"{name}.gz").read_bytes())
    header, size = (16, 28 * 28) if "images" in name else (8, 1)
    cut = content[:4] + number.to_bytes(4, "big") + content[8:header]
    return cut + content[header : header + number * size]
