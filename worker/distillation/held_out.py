"""The held-out parts, validation and test: how models are run over them, and the teacher's answers.

The teacher is run over them when its knowledge is collected. What it answers there is kept as it
is, beside the record, which rounds it: so evaluating it takes no second run and loses nothing.

Shapes: B = batch, C = outputs, N = held-out examples, their ids ascending.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from worker.distillation.dataset import Dataset, Part

HELD_OUT: tuple[Part, ...] = ("validation", "test")
ANSWERS_FILE = "held_out.safetensors"
EXAMPLES_AT_ONCE = 128
"""In a batch that is only run forward. More leave a CPU's cache: 512 images take a ResNet-56 1.6
times as long each, on two cores. The same on every device: a collection may go on on another one.
"""


def held_out_ids(dataset: Dataset) -> npt.NDArray[np.int64]:
    """Return the ids of the validation and test parts, ascending."""
    return np.sort(np.concatenate([dataset.ids[part] for part in HELD_OUT]))


def by_part(answers_NC: Tensor, dataset: Dataset) -> dict[Part, Tensor]:
    """Return the answers on each part, in the order of its ids."""
    everything = held_out_ids(dataset)
    return {part: answers_NC[np.searchsorted(everything, dataset.ids[part])] for part in HELD_OUT}


def keep_answers(answers: Sequence[Tensor], folder: Path) -> None:
    """Write the teacher's answers on all of the held-out examples, batch by batch (B, C)."""
    save_file({"answers": torch.cat(list(answers))}, folder / ANSWERS_FILE)


def kept_answers(folder: Path) -> Tensor | None:
    """Return the teacher's answers (N, C) as they were collected; None where they were not kept."""
    path = folder / ANSWERS_FILE
    return load_file(path)["answers"] if path.is_file() else None
