"""A safetensors file's tensors, by its header: https://github.com/huggingface/safetensors."""

import json
import math
from typing import IO, Any

from app.preview.findings import Broken, Findings

MOST_HEADER_BYTES = 2**20
MOST_TENSORS = 10_000
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1}
SIZES |= {"U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}


def look(file: IO[bytes], findings: Findings, size: int) -> None:
    """Read the header and hold it against the size of the file."""
    findings.kind = "tensors"
    length = int.from_bytes(file.read(8), "little")
    if length > MOST_HEADER_BYTES or length + 8 > size:
        message = f"the header has {length} bytes of {size}; at most {MOST_HEADER_BYTES} are read"
        raise Broken("too_large", message)
    try:
        header = json.loads(file.read(length), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise Broken("not_safetensors", f"the header is no JSON: {error}") from None
    if not isinstance(header, dict):
        raise Broken("not_safetensors", "the header is no object")
    header.pop("__metadata__", None)
    if len(header) > MOST_TENSORS:
        raise Broken("too_many_tensors", f"{len(header)} tensors; at most {MOST_TENSORS}")
    findings.num_columns = len(header)
    spans = sorted(_span(name, tensor, findings) for name, tensor in header.items())
    end = 0
    for start, stop in spans:
        if start != end:
            raise Broken("not_safetensors", f"bytes {end} to {start} are no tensor's, or two's")
        end = stop
    if end + 8 + length != size:
        message = f"the tensors have {end} bytes, the file {size - 8 - length} for them"
        raise Broken("not_safetensors", message)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise Broken("duplicate_name", "the header names one thing twice")
    return names


def _span(name: str, tensor: Any, findings: Findings) -> tuple[int, int]:  # noqa: ANN401 (JSON)
    try:
        kind, shape = tensor["dtype"], tensor["shape"]
        start, stop = tensor["data_offsets"]
        whole = all(isinstance(one, int) and one >= 0 for one in (*shape, start, stop))
        if whole and stop - start == math.prod(shape) * SIZES[kind]:
            findings.column(name, f"{kind} {shape}")
            return start, stop
    except (KeyError, TypeError, ValueError):
        pass
    raise Broken("not_safetensors", f"tensor {name[:80]!r} is not described as it should be")
