"""What a row of a teacher's kept signals holds, and how: the answers, then each layer's features.

Shapes: B = batch, C = outputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.contracts.knowledge import KnowledgeManifest, Storage
from worker.distillation import sparse_logits
from worker.distillation.errors import BadInput
from worker.distillation.signals import Signals

Rows = npt.NDArray[np.int64]
"""Numbers of rows (B)."""
Records = npt.NDArray[np.void]
"""Rows (B), structured."""


@dataclass(frozen=True)
class Layout:
    """What a row holds, and how."""

    storage: Storage
    num_outputs: int
    top_k: int | None
    layers: Mapping[str, tuple[int, ...]]
    """Shapes of the features, without the batch."""

    @classmethod
    def of(cls, manifest: KnowledgeManifest) -> Self:
        layers = {name: tuple(shape) for name, shape in manifest.layers.items()}
        return cls(manifest.storage, len(manifest.output_names), manifest.top_k, layers)

    @property
    def number(self) -> type[np.float32 | np.float16]:
        """What features, and answers that are not sparse, are kept as."""
        return np.float32 if self.storage == "float32" else np.float16

    @property
    def dtype(self) -> np.dtype[np.void]:
        answers: tuple[Any, ...] = ("answers", self.number, (self.num_outputs,))
        if self.top_k is not None:
            width = sparse_logits.num_bytes(self.num_outputs, self.top_k)
            answers = ("answers", np.uint8, (width,))
        features = [(f"features/{name}", self.number, shape) for name, shape in self.layers.items()]
        return np.dtype([answers, *features])

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize

    def encoded(self, signals: Signals, rows_B: Rows) -> Records:
        """Return the records of signals, which are those of ``rows_B``.

        Raises:
            BadInput: a signal is not finite, or too large for half precision.
        """
        records = np.empty(len(rows_B), self.dtype)
        answers = signals.logits_BC.float()
        if self.top_k is None:
            records["answers"] = _checked("an answer", answers, rows_B, self.number)
        else:
            _check("an answer", answers, rows_B, np.float32)
            records["answers"] = sparse_logits.encode(answers, self.top_k)
        for name in self.layers:
            what, features = f"a feature of {name}", signals.features[name].float()
            records[f"features/{name}"] = _checked(what, features, rows_B, self.number)
        return records

    def decoded(self, records: Records, device: torch.device) -> Signals:
        """Return the signals of records, in float32 on ``device``."""
        if self.top_k is None:
            logits_BC = self._numbers(records["answers"], device)
        else:
            logits_BC = sparse_logits.decode(
                records["answers"], self.num_outputs, self.top_k, device
            )
        return Signals(
            logits_BC,
            {name: self._numbers(records[f"features/{name}"], device) for name in self.layers},
        )

    def _numbers(self, field: npt.NDArray[Any], device: torch.device) -> Tensor:
        # A copy, as fields need not be aligned; and as kept, which is less to send to the device.
        return torch.from_numpy(field.astype(self.number)).to(device).float()


def _checked(what: str, values: Tensor, rows_B: Rows, number: type[Any]) -> npt.NDArray[Any]:
    _check(what, values, rows_B, number)
    kept: npt.NDArray[Any] = values.cpu().numpy().astype(number)
    return kept


def _check(what: str, values: Tensor, rows_B: Rows, number: type[Any]) -> None:
    """Refuse what is not finite, or too large to be kept as ``number``."""
    largest = float(np.finfo(number).max)
    broken = ~(values.abs() <= largest)  # NaN too, which compares with nothing
    if not broken.any():
        return
    place = broken.nonzero()[0].tolist()
    value = float(values[tuple(place)])
    fault = (
        f"{what} of the teacher is {value:g} (at {', '.join(map(str, place[1:]))}, in row "
        f"{rows_B[place[0]]})"
    )
    if np.isfinite(value):
        raise BadInput(
            "knowledge_overflow",
            f"{fault}, and float16 ends at {largest:g}",
            hint='set knowledge.storage to "float32"',
        )
    raise BadInput(
        "non_finite_knowledge",
        fault,
        hint="the teacher's training went astray: give it a lower learning rate",
    )
