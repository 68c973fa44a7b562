"""Runs models' ONNX files for the API: `python -m worker.predictor DESCRIPTOR`, an open socket's.

A line is a question, `{"models": [SHA256, ...], "paths": {SHA256: PATH}, "inputs": [...]}`; its
answer is one of `{"answers": [...]}`, `{"problem": ...}` where the inputs are wrong, and
`{"unrunnable": ...}` where a model is, or `{"unreadable": SHA256}`.

Shapes: N = examples, C = outputs.
"""

import hashlib
import json
import os
import resource
import select
import socket
import sys
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

MOST_SESSIONS = 4
MOST_MEMORY_BYTES = 4 * 1024**3
"""Of addresses, of which threads take many and use few."""
NUM_THREADS = 2
MOST_DEPTH = 16

Inputs = npt.NDArray[np.float32]


class WrongInputs(Exception):
    """What was given is not what a model takes."""


class Unreadable(Exception):
    """A model's file is gone, or has other bytes than its digest says."""


class Sessions:
    """The models that were asked last, ready to be asked again."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, onnxruntime.InferenceSession] = OrderedDict()

    def get(self, sha256: str, path: str) -> onnxruntime.InferenceSession:
        if sha256 not in self._held:
            self._held[sha256] = _open(_read_bytes(Path(path), sha256))
        self._held.move_to_end(sha256)
        while len(self._held) > MOST_SESSIONS:
            self._held.popitem(last=False)
        return self._held[sha256]


def main() -> None:
    """Answer until whoever asks is gone."""
    _limit()
    sessions = Sessions()
    with socket.socket(fileno=int(sys.argv[1])) as line, line.makefile("rb") as questions:
        threading.Thread(target=_end_with, args=[line.fileno()], daemon=True).start()
        for question in questions:
            reply = answer(sessions, json.loads(question))
            line.sendall(json.dumps(reply, allow_nan=False).encode() + b"\n")


def answer(sessions: Sessions, question: dict[str, Any]) -> dict[str, Any]:
    """Answer one question, whatever is wrong with it."""
    paths = question["paths"]
    try:
        inputs = _read(question["inputs"])
        asked = [(one, sessions.get(one, paths[one])) for one in question["models"]]
        return {"answers": [_ask(one, session, inputs) for one, session in asked]}
    except WrongInputs as wrong:
        return {"problem": str(wrong)}
    except Unreadable as unreadable:
        return {"unreadable": str(unreadable)}
    except Exception as error:  # noqa: BLE001 (ONNX Runtime's own have no common class)
        return {"unrunnable": str(error)[:500]}


def _limit() -> None:
    """Take from the process what it has no need of: much memory, files to write, core dumps."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end_with(descriptor: int) -> None:
    """End when the other side is gone, also in the middle of an answer that would take for ever."""
    poll = select.poll()
    poll.register(descriptor, select.POLLHUP)
    poll.poll()
    os._exit(1)


def _read_bytes(path: Path, sha256: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError:
        raise Unreadable(sha256) from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Unreadable(sha256)
    return content


def _open(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = NUM_THREADS
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _read(inputs: list[Any]) -> Inputs:
    # Before NumPy sees them: of words it makes cells as wide as the longest.
    _shape(inputs, MOST_DEPTH)
    with np.errstate(over="ignore"):
        numbers = np.array(inputs, dtype=np.float64).astype(np.float32)
    if not np.isfinite(numbers).all():
        raise WrongInputs("a number is too large for float32")
    return numbers


def _shape(value: object, depth: int) -> tuple[int, ...]:
    if isinstance(value, list) and depth:
        shapes = {_shape(one, depth - 1) for one in value}
        if len(shapes) != 1:
            raise WrongInputs("the inputs have not all the same shape")
        return (len(value), *shapes.pop())
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongInputs("the inputs are not all numbers")
    return ()


def _ask(sha256: str, session: onnxruntime.InferenceSession, inputs: Inputs) -> dict[str, Any]:
    (taken,), (output,) = session.get_inputs(), session.get_outputs()
    expected = list(taken.shape)[1:]
    if list(inputs.shape[1:]) != expected:
        shown = ", ".join(["N", *map(str, expected)])
        kind = session.get_modelmeta().custom_metadata_map["input"]
        raise WrongInputs(f"given inputs of shape {inputs.shape}; expected ({shown}): {kind}")
    start = time.perf_counter()
    (values_NC,) = session.run([output.name], {taken.name: inputs})
    seconds = time.perf_counter() - start
    values_NC = np.asarray(values_NC)
    if not np.isfinite(values_NC).all():
        raise WrongInputs("the model's answers to these inputs are not finite")
    about = session.get_modelmeta().custom_metadata_map
    names = json.loads(about["output_names"])
    return {
        "sha256": sha256,
        "task": about["task"],
        "output_names": names,
        "output": output.name,
        "values": values_NC.tolist(),
        "labels": _labels(values_NC, about["task"], names),
        "seconds": seconds,
    }


def _labels(values_NC: Inputs, task: str, names: list[str]) -> list[Any] | None:
    if task == "classification":
        return [names[best] for best in values_NC.argmax(axis=1)]
    if task == "multi_label":
        return [
            [name for name, value in zip(names, row, strict=True) if value > 0] for row in values_NC
        ]
    return None


if __name__ == "__main__":
    main()
