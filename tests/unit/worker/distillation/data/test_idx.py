"""IDX files in an archive, as MNIST and Fashion-MNIST come."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from app.contracts.dataset import ImageArchive
from tests.unit.worker.distillation.data.archives import PACKERS, Contents, idx
from worker.distillation.data.image_archive import read
from worker.distillation.dataset import RawData
from worker.distillation.errors import BadInput

IMAGES = np.arange(5 * 4 * 6, dtype=np.uint8).reshape(5, 4, 6)
LABELS = np.array([7, 0, 7, 2, 0], np.uint8)
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
MNIST = {TRAIN_IMAGES: idx(IMAGES[:3]), TRAIN_LABELS: idx(LABELS[:3])}
WITH_TEST = MNIST | {
    "t10k-labels-idx1-ubyte": idx(LABELS[3:]),
    "t10k-images-idx3-ubyte": idx(IMAGES[3:]),
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
@pytest.mark.parametrize("gzipped", [False, True])
def test_the_t10k_files_are_the_test_part(pack: str, gzipped: bool, tmp_path: Path) -> None:  # noqa: FBT001 (a parameter of the test)
    contents = dict(WITH_TEST)
    if gzipped:
        contents = {f"mnist/{name}.gz": gzip.compress(each) for name, each in contents.items()}

    data = read_packed(contents, tmp_path, pack=pack)

    assert (data.inputs == IMAGES[:, None]).all()
    assert data.test is not None
    assert data.test.tolist() == [False, False, False, True, True]
    assert data.output_names == ["0", "2", "7"]
    assert [data.output_names[label] for label in data.labels] == ["7", "0", "7", "2", "0"]


def test_train_files_alone_leave_the_test_part_to_the_split(tmp_path: Path) -> None:
    data = read_packed(MNIST, tmp_path)

    assert data.test is None
    assert len(data.labels) == 3


def test_names_with_a_dot_are_known_too(tmp_path: Path) -> None:
    dotted = {name.replace("-idx", ".idx"): content for name, content in MNIST.items()}

    assert len(read_packed(dotted, tmp_path).labels) == 3


def test_images_are_fitted_and_coloured_as_asked_for(tmp_path: Path) -> None:
    white = MNIST | {TRAIN_IMAGES: idx(np.full((3, 4, 8), 255, np.uint8))}

    data = read_packed(white, tmp_path, {"size": 8, "channels": 3})

    assert data.inputs.shape == (3, 3, 8, 8)
    assert data.inputs[1, 2].tolist() == [[0] * 8] * 2 + [[255] * 8] * 4 + [[0] * 8] * 2


def test_three_channels_repeat_the_grey_one(tmp_path: Path) -> None:
    data = read_packed(MNIST, tmp_path, {"channels": 3})

    assert (data.inputs == IMAGES[:3, None]).all()


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({TRAIN_IMAGES: idx(IMAGES[:3])[:-1]}, "broken_file", f'"{TRAIN_IMAGES}" is cut off'),
        ({TRAIN_IMAGES: idx(IMAGES[:3])[:9]}, "broken_file", f'"{TRAIN_IMAGES}" is cut off'),
        ({TRAIN_IMAGES: idx(IMAGES[:3]) + b"x"}, "broken_file", f'"{TRAIN_IMAGES}" is longer'),
        ({TRAIN_IMAGES: idx(IMAGES[:2])}, "counts_differ", f'"{TRAIN_LABELS}" 3 labels'),
        ({TRAIN_IMAGES: idx(LABELS[:3])}, "not_idx", "starts with 00 00 08 01"),
        ({TRAIN_LABELS: b""}, "not_idx", "starts with nothing"),
        ({TRAIN_LABELS + ".gz": gzip.compress(idx(LABELS[:3]))}, "duplicate_member", "labels"),
        ({"t10k-images-idx3-ubyte": idx(IMAGES)}, "missing_file", "t10k labels"),
        (
            {
                "t10k-images-idx3-ubyte": idx(IMAGES[:, :3]),
                "t10k-labels-idx1-ubyte": idx(LABELS),
            },
            "sizes_differ",
            "t10k",
        ),
        (
            {TRAIN_IMAGES: bytes([0, 0, 8, 3]) + 3 * b"\0\0\0\3"[:3] + b"\xff" * 12},
            "counts_differ",
            TRAIN_IMAGES,
        ),
        (
            {TRAIN_IMAGES: bytes([0, 0, 8, 3, 0, 0, 0, 3]) + b"\xff" * 8},
            "image_too_large",
            TRAIN_IMAGES,
        ),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    change: Contents, code: str, says: str, tmp_path: Path
) -> None:
    error = refusal({**MNIST, **change}, tmp_path)

    assert error.code == code
    assert says in str(error)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "train labels" in str(refusal({TRAIN_IMAGES: idx(IMAGES)}, tmp_path))


def test_a_damaged_gzip_is_named(tmp_path: Path) -> None:
    packed = gzip.compress(idx(LABELS[:3]))
    broken = {TRAIN_IMAGES: MNIST[TRAIN_IMAGES], TRAIN_LABELS + ".gz": packed[:-4]}

    error = refusal(broken, tmp_path)

    assert error.code == "broken_file"
    assert TRAIN_LABELS in str(error)


def test_a_header_that_claims_more_than_is_read_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.distillation.idx.MAX_EXAMPLES", 2)

    assert refusal(MNIST, tmp_path).code == "too_large"


def test_a_gzip_that_floods_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.members.HARMLESS_BYTES", 10_000)
    images = np.zeros((1000, 40, 40), np.uint8)
    flood = {
        TRAIN_IMAGES + ".gz": gzip.compress(idx(images)),
        TRAIN_LABELS: idx(np.arange(1000).astype(np.uint8)),
    }

    assert refusal(flood, tmp_path).code == "unpacks_too_large"
