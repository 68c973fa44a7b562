"""Looks at the weights that are its standard input: what they are, and whether all are finite.

Run as ``python -S -m app.preview.weights SIZE NAME ...``: of the tensors that are named, it also
gives the values. It prints JSON: ``{"tensors": {NAME: [DTYPE, SHAPE]}, "values": {NAME: [...]},
"not_finite": [NAME, ...], "negative": [NAME, ...]}``, the last of variances alone, or
``{"problem": [CODE, MESSAGE]}``.
"""

import json
import math
import os
import sys
from typing import IO, Any

from app.members import BROKEN, Refused
from app.preview.findings import Broken
from app.preview.limits import MOST_SECONDS, limit
from app.preview.tensors import Tensor, read_header

CHECKED = "F32"
"""The type whose values are looked at: the only one in an architecture but for whole numbers."""
AT_ONCE_BYTES = 2**20
MOST_VALUES = 2**16
VARIANCE = ".running_var"


def main() -> None:
    limit()
    size, *wanted = sys.argv[1:]
    with os.fdopen(0, "rb") as file:
        sys.stdout.write(json.dumps(look(file, int(size), wanted)))


def look(file: IO[bytes], size: int, wanted: list[str]) -> dict[str, Any]:
    """Look at weights; whatever they are, what is found of them is the answer."""
    try:
        return _look(file, size, wanted)
    except Refused as error:
        problem = error.code, str(error)
    except MemoryError:
        problem = "too_large", "a look at it takes more memory than there is for it"
    except TimeoutError:
        problem = "too_large", f"a look at it takes more than {MOST_SECONDS} s"
    except BROKEN as error:
        problem = "broken_file", f"the file is damaged or cut off: {error}"
    return {"problem": problem}


def _look(file: IO[bytes], size: int, wanted: list[str]) -> dict[str, Any]:
    start = file.read(9)
    file.seek(0)
    if start[8:] != b"{":
        message = f"the file starts with {start[:8].hex(' ')}, which is no safetensors"
        raise Broken("not_safetensors", message)
    tensors = read_header(file, size)
    values: dict[str, list[float]] = {}
    not_finite, negative = [], []
    for name, tensor in tensors.items():
        is_kept = (name in wanted or name.endswith(VARIANCE)) and _is_short(tensor)
        kept: list[float] | None = [] if is_kept else None
        if not _is_finite(file, tensor, kept):
            not_finite.append(name)
        elif kept is not None and name in wanted:
            values[name] = kept
        elif kept is not None and min(kept, default=0.0) < 0:
            negative.append(name)
    return {
        "tensors": {name: [tensor.dtype, tensor.shape] for name, tensor in tensors.items()},
        "values": values,
        "not_finite": not_finite,
        "negative": negative,
    }


def _is_short(tensor: Tensor) -> bool:
    return tensor.dtype == CHECKED and math.prod(tensor.shape) <= MOST_VALUES


def _is_finite(file: IO[bytes], tensor: Tensor, kept: list[float] | None) -> bool:
    """Read a tensor's bytes, and say whether no value is NaN or infinite; ``kept`` takes them."""
    left, all_finite = tensor.stop - tensor.start, True
    while left:
        asked = min(left, AT_ONCE_BYTES)
        content = file.read(asked)
        if len(content) < asked:
            raise EOFError("it ends before its last tensor")
        left -= asked
        if tensor.dtype == CHECKED:
            numbers = memoryview(content).cast("f")
            if kept is not None:
                kept += numbers
            # A sum of finite ones is finite in 64 bits, and of others it never is.
            all_finite = all_finite and math.isfinite(sum(numbers))
    return all_finite


if __name__ == "__main__":
    main()
