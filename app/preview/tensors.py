"""A safetensors file's tensors, by its header: https://github.com/huggingface/safetensors."""

import json
import math
import re
from dataclasses import dataclass
from typing import IO, Any

from app.preview.findings import Broken, Findings

MOST_HEADER_BYTES = 2**20
MOST_TENSORS = 10_000
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1}
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
SIZES |= {"U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}


@dataclass(frozen=True)
class Tensor:
    """A tensor and where its bytes are, counted from the end of the header."""

    dtype: str
    shape: list[int]
    start: int
    stop: int


def look(file: IO[bytes], findings: Findings, size: int) -> None:
    """Read the header and hold it against the size of the file."""
    findings.kind = "tensors"
    tensors = read_header(file, size)
    findings.num_columns = len(tensors)
    for name, tensor in tensors.items():
        findings.column(name, f"{tensor.dtype} {tensor.shape}")


def read_header(file: IO[bytes], size: int) -> dict[str, Tensor]:
    """Return all tensors of a file of ``size`` bytes, in the order of their bytes.

    Afterwards the file stands at the first of these.

    Raises:
        Broken: The header is too large, or does not describe the file.
    """
    length = int.from_bytes(file.read(8), "little")
    if length > MOST_HEADER_BYTES or length + 8 > size:
        message = f"the header has {length} bytes of {size}; at most {MOST_HEADER_BYTES} are read"
        raise Broken("too_large", message)
    header = _parsed(file.read(length))
    if len(header) > MOST_TENSORS:
        raise Broken("too_many_tensors", f"{len(header)} tensors; at most {MOST_TENSORS}")
    tensors = {name: _tensor(name, described) for name, described in header.items()}
    ordered = sorted(tensors.items(), key=lambda one: (one[1].start, one[1].stop))
    end = 0
    for _, tensor in ordered:
        if tensor.start != end:
            message = f"bytes {end} to {tensor.start} are no tensor's, or two's"
            raise Broken("not_safetensors", message)
        end = tensor.stop
    if end + 8 + length != size:
        message = f"the tensors have {end} bytes, the file {size - 8 - length} for them"
        raise Broken("not_safetensors", message)
    return dict(ordered)


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        # As text: of bytes, Python would also take UTF-16.
        header = json.loads(
            content.decode(), object_pairs_hook=_without_duplicates, parse_int=_natural
        )
    except (ValueError, RecursionError) as error:
        raise Broken("not_safetensors", f"the header is no JSON: {error}") from None
    if not isinstance(header, dict):
        raise Broken("not_safetensors", "the header is no object")
    notes = header.pop("__metadata__", {})
    if not isinstance(notes, dict) or not all(map(_is_text, [*notes, *notes.values()])):
        raise Broken("not_safetensors", "its `__metadata__` is no object of texts")
    return header


def _is_text(note: object) -> bool:
    # Half a pair of surrogates is text in Python alone.
    return isinstance(note, str) and not LONE_SURROGATE.search(note)


def _natural(digits: str) -> int:
    # Also -0, which is no number that others read as whole.
    if digits.startswith("-"):
        raise ValueError(f"{digits[:20]} stands where a natural number is expected")
    return int(digits)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise Broken("duplicate_name", "the header names one thing twice")
    return names


def _tensor(name: str, described: Any) -> Tensor:  # noqa: ANN401 (JSON)
    try:
        kind, shape = described["dtype"], described["shape"]
        start, stop = described["data_offsets"]
        # Not `isinstance`, for which true and false are numbers.
        whole = isinstance(shape, list) and all(type(one) is int for one in (*shape, start, stop))
        if whole and len(described) == 3 and stop - start == math.prod(shape) * SIZES[kind]:  # noqa: PLR2004 (those)
            return Tensor(kind, shape, start, stop)
    except (KeyError, TypeError, ValueError):
        pass
    raise Broken("not_safetensors", f"tensor {name[:80]!r} is not described as it should be")
