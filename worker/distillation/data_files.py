"""Reads the data that a spec names: what ships, or a file and after it those of the held-out parts.

Shapes: N = examples of all files.
"""

import importlib
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.contracts.dataset import AnyDataset, Builtin
from worker.distillation.dataset import Part, RawData, Tell
from worker.distillation.errors import BadInput
from worker.distillation.workspace import Workspace

PART_OF: dict[str, Part] = {"validation_file": "validation", "test_file": "test"}
"""Which part the examples of a further file are, by the field that names it."""


def read_data(dataset: AnyDataset, workspace: Workspace, scratch: Path, tell: Tell) -> RawData:
    """Read all examples: those of `file`, then of `validation_file`, then of `test_file`.

    The inputs of files are memory-mapped in ``scratch``. Raises BadInput, which for a further file
    names it, where a file cannot be used, or not beside the first.
    """
    if isinstance(dataset, Builtin):
        return _reader("builtin")(dataset, None, scratch, tell)
    read, (_, *further) = _reader(dataset.format.name), dataset.files.items()

    def told(number: int) -> Tell:
        return lambda done, total: tell(number * total + done, (1 + len(further)) * total)

    data = read(dataset.format, workspace.input(dataset.file), scratch, told(0))
    if data.test is not None and dataset.test_file is not None:
        raise BadInput(
            "two_test_parts",
            f"`dataset.test_file` is {dataset.test_file}, and the archive to learn from has a test "
            "part of its own; one is expected",
            "Leave `test_file` out, or take the archive's own test part out of it.",
        )
    parts: dict[Part, RawData] = {}
    for number, (field, file_id) in enumerate(further, start=1):
        folder, source = scratch / field, workspace.input(file_id)
        folder.mkdir()
        with _named(field, file_id):
            parts[PART_OF[field]] = read(dataset.format, source, folder, told(number), data)
    whole = _joined(data, parts) if parts else data
    for field, _ in further:
        shutil.rmtree(scratch / field)
    return whole


def _reader(name: str) -> Callable[..., RawData]:
    read: Callable[..., RawData] = importlib.import_module(f"worker.distillation.data.{name}").read
    return read


@contextmanager
def _named(field: str, file_id: str) -> Iterator[None]:
    """Let what is wrong with a further file say which one that is."""
    try:
        yield
    except BadInput as error:
        message = f"`dataset.{field}` ({file_id}): {error}"
        raise BadInput(error.code, message, error.hint) from error


def _joined(data: RawData, further: Mapping[Part, RawData]) -> RawData:
    """Put the examples of further files after those of the first."""
    names, counts = ["train", *further], [len(each.labels) for each in (data, *further.values())]
    number_of_N = np.repeat(np.arange(len(names), dtype=np.uint8), counts)
    part_of: dict[str, npt.NDArray[np.bool_]] = {
        name: number_of_N == number for number, name in enumerate(names)
    }
    inputs = _grown(data.inputs, len(number_of_N))
    first = len(data.labels)
    for each in further.values():
        inputs[first : first + len(each.labels)] = each.inputs
        first += len(each.labels)
    test = part_of.get("test")
    if data.test is not None:
        test = np.append(data.test, np.zeros(len(number_of_N) - len(data.test), np.bool_))
    return replace(
        data,
        inputs=inputs,
        labels=np.concatenate([data.labels, *(each.labels for each in further.values())]),
        test=test,
        validation=part_of.get("validation"),
    )


def _grown(inputs: npt.NDArray[Any], num_examples: int) -> npt.NDArray[Any]:
    """Map an array's file anew with room at its end; NumPy's header is made to be grown in place.

    Copying would take the disk twice.
    """
    assert isinstance(inputs, np.memmap)  # noqa: S101 (all formats read into a file)
    shape = (num_examples, *inputs.shape[1:])
    header = np.lib.format.header_data_from_array_1_0(inputs) | {"shape": shape}
    path = Path(str(inputs.filename))
    with path.open("r+b") as file:
        np.lib.format.write_array_header_1_0(file, header)
        assert file.tell() == inputs.offset  # noqa: S101 (or it would run into the values)
        file.truncate(inputs.offset + inputs.itemsize * math.prod(shape))
    return np.lib.format.open_memmap(path, "r+")
