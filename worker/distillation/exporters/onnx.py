"""The student as `onnx/model.onnx`, for any number of examples: raw `inputs` in, answers out.

The output is named `logits`; for regression `predictions`, which are in the targets' own units.

Shapes: B = batch, C = outputs.
"""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from worker.distillation.card import output_name
from worker.distillation.dataset import InputDescription
from worker.distillation.errors import BadExport

OPSET = 18  # onnxruntime from 1.14 on reads it
TOLERANCE = 1e-3  # of the largest answer; float32 sums in another order differ by some 1e-6
ROUNDING = 4 * float(np.finfo(np.float32).eps)  # of an answer, in its own units


def write(
    student: nn.Module, description: InputDescription, examples: Tensor, folder: Path
) -> None:
    """Write the file and check it against the student on ``examples`` (B, *shape).

    Raises BadExport if it answers otherwise under onnxruntime.
    """
    student = student.cpu().eval()
    # Two, of whatever there is: a batch of one would be taken for the only size.
    output = output_name(description)
    model = _exported(student, torch.cat([examples, examples])[:2], output)
    _strip(model)
    onnx.helper.set_model_props(
        model,
        {
            "task": description.task,
            "output_names": json.dumps(description.output_names),
            "input": "raw pixels from 0 to 255" if description.kind == "image" else "raw values",
        },
    )
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString(deterministic=True)
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(content)
    _check(content, student, examples, description)


def _exported(student: nn.Module, examples: Tensor, output: str) -> onnx.ModelProto:
    with _quiet():
        program = torch.onnx.export(
            student,
            (examples,),
            dynamo=True,
            input_names=["inputs"],
            output_names=[output],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise BadExport("export_failed", "torch.onnx.export gave no program")
    proto: onnx.ModelProto = program.model_proto
    return proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter tells its own developers from the job's log."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _strip(model: onnx.ModelProto) -> None:
    """Take out the stack traces that the exporter leaves: they name files of this machine."""
    model.ClearField("doc_string")
    model.graph.ClearField("doc_string")
    model.graph.ClearField("metadata_props")
    for part in (
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
    ):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")


@torch.inference_mode()
def _check(
    content: bytes, student: nn.Module, examples: Tensor, description: InputDescription
) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    output = output_name(description)
    for batch in (examples[:1], examples):
        expected_BC = student(batch).numpy()
        (given_BC,) = session.run([output], {"inputs": batch.numpy()})
        if given_BC.shape != expected_BC.shape:
            raise BadExport(
                "export_differs",
                f"model.onnx answers {given_BC.shape}, the student {expected_BC.shape}",
            )
        difference_BC = np.abs(given_BC - expected_BC)
        if not (difference_BC <= _allowed_BC(expected_BC, description)).all():
            raise BadExport(
                "export_differs",
                f"model.onnx differs from the student by {difference_BC.max():g} in one of its "
                f"{output}, on {len(batch)} test examples",
            )


def _allowed_BC(
    expected_BC: npt.NDArray[np.float32], description: InputDescription
) -> npt.NDArray[np.float64]:
    """Return by how much answers may differ: predictions by a share of the targets' deviation."""
    mean_C = np.array(description.output_mean or 0.0)
    std_C = np.array(description.output_std or 1.0)
    largest = max(1.0, float(np.abs((expected_BC - mean_C) / std_C).max()))
    allowed_BC: npt.NDArray[np.float64] = TOLERANCE * largest * std_C + ROUNDING * np.abs(
        expected_BC
    )
    return allowed_BC
