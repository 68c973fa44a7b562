"""Parquet, safetensors and files of two kinds at once that no job may read."""

import io
import json
import struct
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.integration.hostile_archives import GOOD, PNG, pack_tar, pack_zip

Cases = Iterator[tuple[str, bytes]]

TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def parquet_files() -> Cases:
    """Yield (what is wrong, content) of Parquet."""
    file = io.BytesIO()
    pq.write_table(pa.table({"example_id": [0, 1], "no": [0.5, 0.5], "yes": [0.5, 0.5]}), file)
    whole = file.getvalue()
    for share in (0.2, 0.5, 0.9):
        yield f"Parquet cut off at {share}", whole[: round(len(whole) * share)]
    length = struct.unpack("<I", whole[-8:-4])[0]
    footer = whole[-8 - length : -8]
    for what, changed in {
        "of no bytes": b"",
        "of noise": b"\xa5" * 100,
        "of zeros": bytes(100),
        "cut off": footer[: len(footer) // 2],
        "nested deeply": b"\x1c" * 10_000,
        "of lists in lists": b"\x19\xf9\xff\xff\xff\xff\x0f" * 1000,
        "with a list of four billion": b"\x15\x02\x19\xfc\xff\xff\xff\xff\x0f",
        "with a name of two gigabytes": b"\x15\x02\x19\x2c\x48\xff\xff\xff\xff\x07x",
        "with a number without end": b"\x15" + b"\xff" * 50,
        "without rows": b"\x15\x02\x19\x0c\x00",
        "with fewer than no rows": b"\x15\x02\x19\x0c\x16\x01\x19\x0c\x00",
    }.items():
        end = struct.pack("<I", len(changed)) + b"PAR1"
        yield f"Parquet with a footer {what}", b"PAR1" + whole[4 : -8 - length] + changed + end
    for size in (length + 1, 2**31 - 1, 2**32 - 1):
        yield f"Parquet with a footer of {size}", whole[:-8] + struct.pack("<I", size) + b"PAR1"
    yield "Parquet without an end", whole[:-4] + b"PAR2"
    yield "Parquet that is a mark alone", b"PAR1"
    rows = whole.replace(b"\x16\x04\x19\x1c", b"\x16\xfe\xff\xff\xff\x1f\x19\x1c", 1)
    grown = struct.pack("<I", length + len(rows) - len(whole)) + b"PAR1"
    yield "Parquet that says a billion rows", rows[:-8] + grown


def tensor_files() -> Cases:
    """Yield (what is wrong, content) of safetensors."""
    changes: dict[str, dict[str, Any]] = {
        "a type that is none": {"dtype": "F31"},
        "another shape": {"shape": [3]},
        "a shape below zero": {"shape": [-2]},
        "a shape of words": {"shape": ["2"]},
        "a huge shape": {"shape": [2**62, 2**62]},
        "an end before its start": {"data_offsets": [8, 0]},
        "a place beyond the end": {"data_offsets": [8, 16]},
        "three places": {"data_offsets": [0, 4, 8]},
        "no place": {"data_offsets": None},
    }
    for what, change in changes.items():
        yield f"safetensors with {what}", _tensors({"a": {**TENSOR, **change}})
    yield "safetensors with tensors over each other", _tensors({"a": TENSOR, "b": TENSOR})
    yield "safetensors with bytes of none", _tensors({"a": TENSOR}, bytes(16))
    yield "safetensors with bytes missing", _tensors({"a": TENSOR}, bytes(4))
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    many = {str(number): empty for number in range(10_001)}
    yield "safetensors with 10,001 tensors", _tensors(many, b"")
    text = json.dumps(TENSOR)
    for what, header in {
        "a name twice": f'{{"a": {text}, "a": {text}}}'.encode(),
        "a header that is no JSON": b"{not json",
        "a header nested deeply": b'{"a":' * 5000 + b"1" + b"}" * 5000,
        "a header of 67 MB": b'{"a": 1' + b" " * 67_000_000 + b"}",
        "a header that is not UTF-8": b'{"\xff": 1}',
    }.items():
        yield f"safetensors with {what}", struct.pack("<Q", len(header)) + header + bytes(8)
    for size in (2**20 + 1, 2**31):
        yield f"safetensors with a header of {size}", struct.pack("<Q", size) + b"{}" + bytes(50)


def polyglots() -> Cases:
    """Yield (what it is, content) of files that are two things at once, or none."""
    archive, tar = pack_zip(GOOD), pack_tar(GOOD)
    for what, start in {
        "a PDF": b"%PDF-1.7\n\xe2\xe3\xcf\xd3\n",
        "a GIF": b"GIF89a;",
        "a PNG": PNG,
        "a JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF",
        "a program": b"\x7fELF" + bytes(60),
        "an array": b"\x93NUMPY\x01\0v\0{'descr': '|O'}\n",
        "a pickle": b"\x80\x04\x95cos\nsystem\n(S'id'\ntR.",
        "a database": b"SQLite format 3\0",
        "an IDX file": struct.pack(">BBBB3I", 0, 0, 8, 3, 1, 1, 1) + b"x",
        "HDF5": b"\x89HDF\r\n\x1a\n",
    }.items():
        yield f"{what} alone", start + bytes(20)
        yield f"{what} that is a zip too", start + archive
        yield f"{what} that is a tar too", start.ljust(512, b"\0") + tar


def _tensors(header: dict[str, Any], content: bytes = bytes(8)) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content
