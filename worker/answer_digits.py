"""Draws a few test digits with the answers of an ONNX file: `... MODEL COUNT`, the spec on stdin.

What it does with the file is what any client would do: raw pixels in, logits out.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from app.contracts.job import JobSpec
from worker.distillation.dataset import Dataset
from worker.distillation.reporting import Reporter
from worker.distillation.stages import prepare
from worker.distillation.workspace import Workspace

SHADES = " ░▒▓█"
LARGEST_PIXEL = 255

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def main() -> None:
    model, count = Path(sys.argv[1]), int(sys.argv[2])
    images_NCHW, labels_N = held_out(JobSpec.model_validate_json(sys.stdin.read()), count)
    answers_N = answer(model, images_NCHW)
    sys.stdout.write(draw(images_NCHW, labels_N, answers_N))


def held_out(spec: JobSpec, count: int) -> tuple[Images, Labels]:
    """Return test examples, spread over the test part, that a job of this spec trains nothing on.

    Images: uint8 (N, C, H, W), 0 to 255; labels: (N,).
    """
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        prepare.run(spec, workspace, Reporter(send=lambda _: None))
        data = Dataset.load(workspace.stage("prepared"))
        test_ids = data.ids["test"]
        chosen = test_ids[np.linspace(0, len(test_ids) - 1, count).astype(int)]
        return np.array(data.inputs[chosen], dtype=np.uint8), data.labels[chosen]


def answer(model: Path, images_NCHW: Images) -> Labels:
    """Return the most probable class of each image, (N,)."""
    session = onnxruntime.InferenceSession(model)
    (logits_NK,) = session.run(["logits"], {"inputs": images_NCHW.astype(np.float32)})
    best_N: Labels = np.asarray(logits_NK).argmax(axis=1)
    return best_N


def draw(images_NCHW: Images, labels_N: Labels, answers_N: Labels) -> str:
    """Return the images beside each other in shades of grey, with what each was taken for."""
    levels_NHW = images_NCHW[:, 0].astype(int) * (len(SHADES) - 1) // LARGEST_PIXEL
    lines = []
    for row in range(levels_NHW.shape[1]):
        pieces = ("".join(SHADES[level] * 2 for level in image[row]) for image in levels_NHW)
        lines.append("   ".join(pieces))
    verdicts = (
        f"it says {answer}" + ("" if answer == label else f", it is {label}")
        for answer, label in zip(answers_N.tolist(), labels_N.tolist(), strict=True)
    )
    lines.append("   ".join(f"{verdict:<{2 * levels_NHW.shape[2]}}" for verdict in verdicts))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
