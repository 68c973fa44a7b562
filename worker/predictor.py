"""Runs models' ONNX files for the API: `python -m worker.predictor DESCRIPTOR`, an open socket's.

A line is a question, `{"models": [SHA256, ...], "paths": {SHA256: PATH}, "inputs": [...]}`; its
answer is one of `{"answers": [...]}`, `{"missing": [SHA256, ...]}`, `{"problem": ...}` where the
inputs are wrong and `{"unrunnable": ...}` where a model is.

Shapes: N = examples, C = outputs.
"""

import json
import resource
import socket
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

MOST_SESSIONS = 4
MOST_MEMORY_BYTES = 8 * 1024**3
"""Of addresses, of which threads take many and use few."""
NUM_THREADS = 2

Inputs = npt.NDArray[np.float32]


class WrongInputs(Exception):
    """What was given is not what a model takes."""


class Sessions:
    """The models that were asked last, ready to be asked again."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, onnxruntime.InferenceSession] = OrderedDict()

    def missing(self, models: list[str], paths: dict[str, str]) -> list[str]:
        return [one for one in models if one not in self._held and one not in paths]

    def get(self, sha256: str, paths: dict[str, str]) -> onnxruntime.InferenceSession:
        if sha256 not in self._held:
            self._held[sha256] = _open(Path(paths[sha256]).read_bytes())
        self._held.move_to_end(sha256)
        while len(self._held) > MOST_SESSIONS:
            self._held.popitem(last=False)
        return self._held[sha256]


def main() -> None:
    _limit()
    sessions = Sessions()
    with socket.socket(fileno=int(sys.argv[1])) as line, line.makefile("rb") as questions:
        for question in questions:
            reply = answer(sessions, json.loads(question))
            line.sendall(json.dumps(reply, allow_nan=False).encode() + b"\n")


def answer(sessions: Sessions, question: dict[str, Any]) -> dict[str, Any]:
    models, paths = question["models"], question["paths"]
    missing = sessions.missing(models, paths)
    if missing:
        return {"missing": missing}
    try:
        inputs = _read(question["inputs"])
        return {"answers": [_ask(one, sessions.get(one, paths), inputs) for one in models]}
    except WrongInputs as wrong:
        return {"problem": str(wrong)}
    except Exception as error:  # noqa: BLE001 (ONNX Runtime's own have no common class)
        return {"unrunnable": str(error)[:500]}


def _limit() -> None:
    """Take from the process what it has no need of: much memory, files to write, core dumps."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _open(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = NUM_THREADS
    # From its bytes: a file could name others beside it.
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _read(inputs: list[Any]) -> Inputs:
    try:
        given = np.array(inputs)
    except ValueError:
        raise WrongInputs("the inputs have not all the same shape") from None
    if given.dtype.kind not in "iuf":
        raise WrongInputs("the inputs are not all numbers")
    with np.errstate(over="ignore"):
        numbers = given.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise WrongInputs("a number is too large for float32")
    return numbers


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
