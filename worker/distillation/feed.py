"""The examples of a dataset, brought to the device in batches.

Shapes: B = batch; an input is an image (channels, height, width) or a row (features).
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from worker.distillation.dataset import Dataset

MOST_RESIDENT_BYTES = 2 * 2**30
"""Data up to this size is kept on the device, leaving most of a small GPU to the model."""


def num_batches(num_examples: int, batch_size: int) -> int:
    return -(-num_examples // batch_size)


def even_batches(ids: npt.NDArray[np.int64], batch_size: int) -> list[npt.NDArray[np.int64]]:
    """Divide ids into batches as even as can be and at most ``batch_size``.

    898 examples by 128 are 8 batches of 112 or 113, so that no step hangs on a handful of examples.
    """
    return np.array_split(ids, num_batches(len(ids), batch_size)) if len(ids) else []


class Feed:
    """Reads a dataset's inputs: from the device where they fit, else from the mapped file."""

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self.device = device
        self.labels = torch.tensor(_labels(dataset), device=device)
        """Of all examples, by id; as losses take them: see ``Batch``."""
        self._mapped = dataset.inputs
        self._resident: Tensor | None = None
        if dataset.inputs.nbytes <= MOST_RESIDENT_BYTES:
            self._resident = torch.tensor(np.asarray(dataset.inputs), device=device)

    def batches(
        self, ids: npt.NDArray[np.int64], batch_size: int, skip: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield ids (B) and raw float32 inputs (B, ...) on the device, in the order of ``ids``.

        The batches are those of ``even_batches``. ``skip`` leaves out the first few, which are the
        same batches as ever.
        """
        parts = even_batches(ids, batch_size)
        all_ids = torch.tensor(ids, device=self.device)
        end = sum(len(part) for part in parts[:skip])
        for part in parts[skip:]:
            start, end = end, end + len(part)
            ids_B = all_ids[start:end]
            yield ids_B, self._inputs(part, ids_B).float()

    def _inputs(self, ids: npt.NDArray[np.int64], ids_B: Tensor) -> Tensor:
        if self._resident is not None:
            return self._resident[ids_B]
        rows = torch.from_numpy(self._mapped[ids])
        if self.device.type == "cuda":
            rows = rows.pin_memory()
        return rows.to(self.device, non_blocking=True)


def _labels(dataset: Dataset) -> npt.NDArray[np.int64] | npt.NDArray[np.float32]:
    description = dataset.description
    if description.task != "regression":
        return dataset.labels
    mean = np.array(description.output_mean, np.float32)
    std = np.array(description.output_std, np.float32)
    standardised: npt.NDArray[np.float32] = ((dataset.labels - mean) / std).astype(np.float32)
    return standardised
