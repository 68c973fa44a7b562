"""Class folders of images, in every kind of archive."""

from pathlib import Path

import numpy as np
import pytest

from app.contracts.dataset import ImageArchive
from tests.unit.worker.distillation.data.archives import PACKERS, Contents, image, write_zip
from worker.distillation.data.image_archive import read
from worker.distillation.dataset import RawData
from worker.distillation.errors import BadInput

PETS = {
    "dog/1.png": image(30),
    "cat/2.png": image(20),
    "cat/1.png": image(10),
}


Settings = dict[str, int]
UNSET: Settings = {}


def unheard(done: int, total: int) -> None:
    """Nobody listens."""


def read_packed(
    contents: Contents, folder: Path, settings: Settings = UNSET, pack: str = "zip"
) -> RawData:
    path = PACKERS[pack](folder / "file-1", contents)
    return read(ImageArchive.model_validate(settings), path, folder, unheard)


def refusal(contents: Contents, folder: Path) -> BadInput:
    with pytest.raises(BadInput) as caught:
        read_packed(contents, folder)
    return caught.value


@pytest.mark.parametrize("pack", PACKERS)
def test_folders_are_classes_and_names_give_the_order(pack: str, tmp_path: Path) -> None:
    data = read_packed(PETS, tmp_path, pack=pack)

    assert data.output_names == ["cat", "dog"]
    assert data.labels.tolist() == [0, 0, 1]
    assert data.inputs.shape == (3, 1, 6, 6)
    assert data.inputs.dtype == np.uint8
    assert data.inputs[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert data.test is None


@pytest.mark.parametrize("wrapping", ["pets/", "a/b/", "./pets/"])
def test_a_wrapping_folder_is_looked_through(wrapping: str, tmp_path: Path) -> None:
    wrapped = {wrapping + name: content for name, content in PETS.items()}

    assert read_packed(wrapped, tmp_path).output_names == ["cat", "dog"]


def test_train_and_test_folders_are_kept_apart(tmp_path: Path) -> None:
    contents = {f"pets/train/{name}": content for name, content in PETS.items()}
    contents["pets/test/dog/9.png"] = image(90)

    data = read_packed(contents, tmp_path)

    assert data.output_names == ["cat", "dog"]
    assert data.test is not None
    assert data.inputs[data.test][:, 0, 0, 0].tolist() == [90]
    assert data.labels[data.test].tolist() == [1]


def test_what_systems_leave_beside_images_is_passed_over(tmp_path: Path) -> None:
    litter = {
        "cat/.DS_Store": b"x",
        "__MACOSX/cat/._1.png": b"x",
        "cat/Thumbs.db": b"x",
        "README.md": b"x",
        "LICENSE": b"x",
    }

    assert len(read_packed(PETS | litter, tmp_path).labels) == 3


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP"])
def test_every_allowed_format_is_decoded_by_its_content(kind: str, tmp_path: Path) -> None:
    contents = PETS | {"dog/1.png": image(200, kind=kind, mode="L")}

    data = read_packed(contents, tmp_path, {"channels": 1})

    assert abs(int(data.inputs[2, 0, 3, 3]) - 200) <= 2


def test_one_colour_image_makes_all_of_three_channels(tmp_path: Path) -> None:
    data = read_packed(PETS | {"dog/1.png": image((1, 2, 3), mode="RGB")}, tmp_path)

    assert data.inputs.shape == (3, 3, 6, 6)
    assert data.inputs[2, :, 0, 0].tolist() == [1, 2, 3]
    assert data.inputs[0, :, 0, 0].tolist() == [10, 10, 10]


def test_channels_are_as_asked_for(tmp_path: Path) -> None:
    contents = PETS | {"dog/1.png": image((255, 255, 255), mode="RGB")}

    assert read_packed(contents, tmp_path, {"channels": 1}).inputs[2, :, 0, 0].tolist() == [255]
    assert read_packed(PETS, tmp_path, {"channels": 3}).inputs.shape == (3, 3, 6, 6)


def test_what_is_transparent_becomes_black(tmp_path: Path) -> None:
    contents = PETS | {"dog/1.png": image((255, 255, 255, 0), mode="RGBA")}

    assert read_packed(contents, tmp_path).inputs[2].max() == 0


@pytest.mark.parametrize("factor", [1, 4], ids=["smaller", "larger"])
def test_images_are_fitted_to_a_square_between_bars_of_black(factor: int, tmp_path: Path) -> None:
    contents = PETS | {"dog/1.png": image(255, size=(4 * factor, 2 * factor))}

    fitted = read_packed(contents, tmp_path, {"size": 8}).inputs[2, 0]

    assert fitted.tolist() == [[0] * 8] * 2 + [[255] * 8] * 4 + [[0] * 8] * 2


def test_a_line_of_pixels_can_be_fitted(tmp_path: Path) -> None:
    contents = PETS | {"dog/1.png": image(255, size=(1000, 1))}

    assert read_packed(contents, tmp_path, {"size": 8}).inputs[2].any()


def test_the_pixels_are_mapped_from_the_scratch_folder(tmp_path: Path) -> None:
    data = read_packed(PETS, tmp_path)

    assert isinstance(data.inputs, np.memmap)
    assert (np.load(tmp_path / "inputs.npy", mmap_mode="r") == data.inputs).all()


SIXTEEN_BITS = image(1, mode="I;16")


@pytest.mark.parametrize(
    ("contents", "code", "says"),
    [
        (PETS | {"cat/3.png": image(size=(6, 5))}, "sizes_differ", '"cat/3.png" is 6 x 5'),
        (PETS | {"cat/3.png": image()[:20]}, "broken_image", '"cat/3.png"'),
        (PETS | {"cat/3.png": b"none"}, "not_an_image", '"cat/3.png"'),
        (PETS | {"cat/3.png": image(kind="BMP")[:-30]}, "broken_image", '"cat/3.png"'),
        (PETS | {"cat/3.png": image(kind="TIFF")}, "not_an_image", '"cat/3.png"'),
        (PETS | {"cat/3.png": SIXTEEN_BITS}, "unknown_pixels", '"cat/3.png"'),
        (PETS | {"cat/3.png": image(size=(5001, 5000))}, "image_too_large", '"cat/3.png"'),
        (PETS | {"cat/3.tiff": b""}, "unknown_file", '"cat/3.tiff"'),
        (PETS | {"more.zip": b""}, "unknown_file", '"more.zip"'),
        (PETS | {"3.png": image()}, "bad_layout", '"3.png"'),
        (PETS | {"cat/big/3.png": image()}, "bad_layout", '"cat/big/3.png"'),
        ({"train/cat/1.png": image(), "test/1.png": image()}, "bad_layout", "test/1.png"),
        ({"notes.txt": b"x"}, "no_images", "no images"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    contents: Contents, code: str, says: str, tmp_path: Path
) -> None:
    error = refusal(contents, tmp_path)

    assert error.code == code
    assert says in str(error)


def test_more_pixels_than_a_disk_should_hold_are_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.distillation.class_folders.MAX_DECODED_BYTES", 100)

    assert refusal(PETS, tmp_path).code == "too_large"


def test_reading_tells_how_far_it_is(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = write_zip(tmp_path / "file-1", PETS)

    read(ImageArchive(), path, tmp_path, lambda done, total: told.append((done, total)))

    assert told == [(done, 6) for done in (1, 2, 3, 4, 5, 6)]
