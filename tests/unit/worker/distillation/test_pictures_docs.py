"""What docs/models.md says of preparing images gives the pixels that training sees."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.pages import examples
from worker.distillation.pictures import decode

SIDE = 8


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(9, 5), (7, 5), (3, 8), (8, 8), (16, 16), (1000, 1)])
def test_its_code_prepares_an_image_as_training_does(
    size: tuple[int, int], mode: str, tmp_path: Path
) -> None:
    (code,) = (one for one in examples("docs/models.md", "python") if "BILINEAR" in one)
    names: dict[str, Any] = {}
    exec(compile(code, "models.md", "exec"), names)  # noqa: S102 (our own page)
    path = tmp_path / "image.png"
    shape = (size[1], size[0], len(mode))
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    Image.fromarray(noise.squeeze(2) if mode == "L" else noise).save(path)
    channels = 1 if mode == "L" else 3

    seen = decode(path.read_bytes(), path.name, channels, SIDE)

    assert seen.shape == (channels, SIDE, SIDE)
    np.testing.assert_array_equal(names["prepared"](path, channels, SIDE), seen)
