"""What the preview says of a file is what the trainer says of it."""

import io
import struct
from pathlib import Path

import pytest

from app.contracts.dataset import Csv, ImageArchive
from app.preview.__main__ import look
from app.services.content import inspect
from tests.integration.hostile_archives import PACKERS, tables_of_idx
from worker.distillation.data import csv, image_archive
from worker.distillation.errors import BadInput

ROWS = "1,yes\n2,no\n" * 10
TABLES = {
    "good": (f"a,label\n{ROWS}", None),
    "words and what is no finite number": (
        f"a,label\n{ROWS}nan,yes\ninf,no\nred,yes\n",
        "not_a_number",
    ),
    "mostly what is no finite number": (
        "a,label\nnan,yes\nnan,no\nnan,yes\nred,no\nblue,yes\nred,no\n",
        None,
    ),
    "an infinite number": (f"a,label\n{ROWS}1e39,yes\n", "not_a_number"),
    "a number with underscores": (f"a,label\n{ROWS}1_000,yes\n", "not_a_number"),
    "an empty cell among numbers": (f"a,label\n{ROWS},yes\n", "empty_cell"),
    "an empty cell among words": ("a,label\n" + "red,yes\n,no\nblue,yes\n" * 9, None),
    "a ragged row": (f"a,label\n{ROWS}1\n", "ragged_row"),
    "a header of 5 MB": (
        ",".join(f"{number:0250}" for number in range(19_999))
        + ",label\n"
        + (",".join("1" * 19_999) + ",yes\n" + ",".join("2" * 19_999) + ",no\n") * 4,
        None,
    ),
    "two columns of one name": (f"a,a\n{ROWS}", "duplicate_column"),
}


def idx(sizes: tuple[int, int, int], labels: int) -> dict[str, bytes]:
    count, height, width = sizes
    return {
        "train-images-idx3-ubyte": struct.pack(">4B3I", 0, 0, 8, 3, *sizes)
        + bytes(count * height * width),
        "train-labels-idx1-ubyte": struct.pack(">4BI", 0, 0, 8, 1, labels) + bytes(range(labels)),
    }


ARCHIVES = {
    "good": (tables_of_idx(packed=False), None),
    "images of no size": (idx((4, 0, 3), 4), "counts_differ"),
    "other numbers": (idx((4, 2, 3), 5), "counts_differ"),
    "the same part twice": (
        {
            **idx((4, 2, 3), 4),
            "more/train-images.idx3-ubyte": idx((4, 2, 3), 4)["train-images-idx3-ubyte"],
        },
        "duplicate_member",
    ),
    "no labels": (
        {"train-images-idx3-ubyte": idx((4, 2, 3), 4)["train-images-idx3-ubyte"]},
        "missing_file",
    ),
}


def codes(content: bytes) -> set[str]:
    media_type = inspect([content]).media_type
    found = look(io.BytesIO(content), media_type, len(content), "label", None).as_json()
    assert found["is_whole"]
    return {problem["code"] for problem in found["problems"]}


@pytest.mark.parametrize(("text", "code"), TABLES.values(), ids=TABLES)
def test_of_a_table(text: str, code: str | None, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text(text)
    told = None
    try:
        csv.read(Csv(), path, tmp_path, lambda *_: None)
    except BadInput as error:
        told = error.code
    assert told == code
    assert codes(text.encode()) == ({code} if code else set())


@pytest.mark.parametrize(("files", "code"), ARCHIVES.values(), ids=ARCHIVES)
def test_of_an_archive(files: dict[str, bytes], code: str | None, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(PACKERS["zip"](files))
    told = None
    try:
        image_archive.read(ImageArchive(), path, tmp_path, lambda *_: None)
    except BadInput as error:
        told = error.code
    assert told == code
    assert codes(path.read_bytes()) == ({code} if code else set())
