"""What a student learns from: a teacher's signals, live or from the record on disk.

A record holds the teacher's logits on every view of the train part that a training will see: one
an epoch where images are augmented, else one. It is collected in the very batches of the training,
because a matrix product's last bits depend on which examples share it; so with augmentation live
and recorded signals are equal bit for bit. (Without, all epochs share the first one's batches.)

Shapes: V = views, N = train examples, B = batch, C = classes.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel
from torch import Tensor

from app.contracts.training import Training
from worker.distillation.capture import Precision, capturing, feature_shapes, observe
from worker.distillation.predictor import Predictor
from worker.distillation.dataset import Dataset, InputDescription
from worker.distillation.feed import Feed
from worker.distillation.loss import Shapes
from worker.distillation.signals import Signals
from worker.distillation.views import augment, epoch_order

BYTES_PER_LOGIT = 4


class KnowledgeRecord(BaseModel):
    """`knowledge.json`: what a record's numbers are of."""

    teacher_sha256: str
    description: InputDescription
    views: int
    num_examples: int
    training: Training

    @property
    def bytes(self) -> int:
        return self.views * self.num_examples * len(self.description.output_names) * BYTES_PER_LOGIT


class Teaching(Protocol):
    """A source of the teacher's signals on a training's batches."""

    def shapes(self, inputs: Tensor) -> Shapes:
        """Return the shapes of the features it gives, learnt from a few raw inputs."""

    def signals(self, inputs: Tensor, ids_B: Tensor, epoch: int) -> Signals:
        """Return the teacher's signals on one batch of an epoch's view (epochs from 0)."""


class LiveTeaching:
    """A teacher that runs beside the student, in eval mode and outside its gradients."""

    def __init__(
        self, teacher: Predictor, precision: Precision, layers: tuple[str, ...] = ()
    ) -> None:
        # The student's layout: both kinds of teaching run the teacher the same way.
        teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.teacher = teacher.eval()
        self.layers = layers
        self.precision = precision

    def shapes(self, inputs: Tensor) -> Shapes:
        return feature_shapes(self.teacher, self.layers, inputs)

    def signals(self, inputs: Tensor, ids_B: Tensor, epoch: int) -> Signals:
        with torch.no_grad(), capturing(self.teacher, self.layers) as features:
            return observe(self.teacher, inputs, self.precision, features)


class RecordedTeaching:
    """A teacher's logits from a record; one view at a time is on the device."""

    def __init__(self, folder: Path, dataset: Dataset, device: torch.device) -> None:
        self.device = device
        self.rows = rows_by_id(dataset, device)
        self._logits_VNC: npt.NDArray[np.float32] = np.load(
            folder / "logits.npy", mmap_mode="r", allow_pickle=False
        )
        self._view = -1
        self._logits_NC = torch.empty(0)

    def shapes(self, inputs: Tensor) -> Shapes:
        return {}

    def signals(self, inputs: Tensor, ids_B: Tensor, epoch: int) -> Signals:
        view = min(epoch, len(self._logits_VNC) - 1)
        if view != self._view:
            self._view = view
            self._logits_NC = torch.tensor(self._logits_VNC[view], device=self.device)
        return Signals(self._logits_NC[self.rows[ids_B]])


def planned(training: Training, dataset: Dataset, teacher_weights: Path) -> KnowledgeRecord:
    """Return what a record for ``training`` holds, before anything is collected."""
    return KnowledgeRecord(
        teacher_sha256=hashlib.sha256(teacher_weights.read_bytes()).hexdigest(),
        description=dataset.description,
        views=training.epochs if training.augmentation else 1,
        num_examples=len(dataset.ids["train"]),
        training=training,
    )


def collect_view(
    view: int, teaching: LiveTeaching, training: Training, dataset: Dataset, feed: Feed
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the ids (B) of each of a view's batches and the teacher's logits (B, C) on them."""
    order = epoch_order(dataset.ids["train"], training.seed, view)
    for ids_B, inputs in feed.batches(order, training.batch_size):
        seen = augment(inputs, ids_B, training.augmentation, training.seed, view)
        yield ids_B, teaching.signals(seen, ids_B, view).logits_BC


def rows_by_id(dataset: Dataset, device: torch.device) -> Tensor:
    """Return each example's row in the train part; -1 for an example outside it."""
    rows = torch.full((len(dataset.labels),), -1, dtype=torch.int64)
    ids = torch.tensor(dataset.ids["train"])
    rows[ids] = torch.arange(len(ids))
    return rows.to(device)
