"""What a student learns from: a teacher's signals, live or from the record on disk.

Shapes: B = batch, C = outputs.
"""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from worker.distillation.capture import Observable, Precision, capturing, feature_shapes, observe
from worker.distillation.dataset import Dataset
from worker.distillation.knowledge_store import StoredKnowledge
from worker.distillation.loss import Shapes
from worker.distillation.signals import Signals


class Teaching(Protocol):
    """A source of the teacher's signals on a training's batches."""

    def shapes(self, inputs: Tensor) -> Shapes:
        """Return the shapes of the features it gives, learnt from a few raw inputs."""

    def signals(self, inputs: Tensor, ids_B: Tensor, epoch: int) -> Signals:
        """Return the teacher's signals on one batch of an epoch's view (epochs from 0)."""


class LiveTeaching:
    """A teacher that runs beside the student, in eval mode and outside its gradients."""

    def __init__(
        self, teacher: Observable, precision: Precision, layers: tuple[str, ...] = ()
    ) -> None:
        if isinstance(teacher, nn.Module):
            # The student's layout: both kinds of teaching run the teacher the same way.
            teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            teacher.eval()
        self.teacher = teacher
        self.layers = layers
        self.precision = precision

    def shapes(self, inputs: Tensor) -> Shapes:
        return feature_shapes(self.teacher, self.layers, inputs)

    def signals(self, inputs: Tensor, ids_B: Tensor, epoch: int) -> Signals:
        with torch.no_grad(), capturing(self.teacher, self.layers) as features:
            return observe(self.teacher, inputs, self.precision, features)


class RecordedTeaching:
    """A teacher's signals from a record: those of the very view that the student sees."""

    def __init__(self, folder: Path, dataset: Dataset, device: torch.device) -> None:
        self._device = device
        self._stored = StoredKnowledge.open(folder)
        self._places = places_by_id(dataset)

    @property
    def layers(self) -> list[str]:
        """Return the teacher's layers whose features are recorded."""
        return list(self._stored.manifest.layers)

    def shapes(self, inputs: Tensor) -> Shapes:
        return {path: tuple(shape) for path, shape in self._stored.manifest.layers.items()}

    def signals(self, inputs: Tensor, ids_B: Tensor, epoch: int) -> Signals:
        manifest = self._stored.manifest
        view = epoch if manifest.views > 1 else 0
        places_B = self._places[ids_B.cpu()].numpy()
        assert places_B.min(initial=0) >= 0, "only examples of the train part have views"  # noqa: S101
        rows_B = places_B + view * manifest.num_train
        return self._stored.signals(rows_B, self._device)


def places_by_id(dataset: Dataset) -> Tensor:
    """Return each example's place in the train part, ascending by id; -1 outside it."""
    places = torch.full((len(dataset.labels),), -1, dtype=torch.int64)
    ids = torch.from_numpy(np.asarray(dataset.ids["train"]))
    places[ids] = torch.arange(len(ids))
    return places
