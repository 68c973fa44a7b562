"""What a collection of knowledge is of, and the very batches in which it is made.

Shapes: B = batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.contracts.knowledge import KnowledgeManifest
from app.contracts.training import Training
from worker.distillation.dataset import Dataset
from worker.distillation.feed import Feed, num_batches
from worker.distillation.held_out import EXAMPLES_AT_ONCE, held_out_ids
from worker.distillation.teaching import places_by_id
from worker.distillation.views import augment, epoch_order

Load = partial[tuple[Tensor, Tensor, int]]
"""Gives a batch's inputs as the student sees them, its ids, and its epoch."""


@dataclass(frozen=True)
class Collection:
    """What to collect, of which data, in whose batches."""

    manifest: KnowledgeManifest
    training: Training
    dataset: Dataset
    device: torch.device


def num_parts(collection: Collection) -> int:
    """Return how many batches ``parts`` gives when none is left out."""
    manifest, training = collection.manifest, collection.training
    at_once = training.micro_batch_size or training.batch_size
    a_view = sum(_num_cuts(manifest.num_train, training.batch_size, at_once))
    return manifest.views * a_view + num_batches(manifest.num_held_out, EXAMPLES_AT_ONCE)


def parts(collection: Collection, skip: int) -> Iterator[tuple[npt.NDArray[np.int64], Load]]:
    """Yield the rows of each batch, and what loads it: all views' batches, then the held-out.

    The first ``skip`` are left out, and next to nothing of them is read.
    """
    dataset, training, manifest = collection.dataset, collection.training, collection.manifest
    feed, places = Feed(dataset, collection.device), places_by_id(dataset).numpy()
    at_once = training.micro_batch_size or training.batch_size
    for view in range(manifest.views):
        order = epoch_order(dataset.ids["train"], training.seed, view)
        whole, their_parts = _skipped(len(order), training.batch_size, at_once, skip)
        skip -= their_parts
        for ids_B, inputs in feed.batches(order, training.batch_size, whole):
            for ids, given in zip(ids_B.split(at_once), inputs.split(at_once), strict=True):
                if skip:
                    skip -= 1
                    continue
                rows_B = view * manifest.num_train + places[ids.cpu().numpy()]
                yield rows_B, partial(_seen, training, ids, given, view)
    rows = manifest.views * manifest.num_train + np.arange(len(held_out_ids(dataset)))
    parts_of_rows = np.array_split(rows, max(num_batches(len(rows), EXAMPLES_AT_ONCE), 1))[skip:]
    batches = feed.batches(held_out_ids(dataset), EXAMPLES_AT_ONCE, skip)
    for rows_B, (ids_B, inputs) in zip(parts_of_rows, batches, strict=False):
        yield rows_B, partial(_unchanged, ids_B, inputs)


def _skipped(num_examples: int, batch_size: int, at_once: int, skip: int) -> tuple[int, int]:
    """Return how many batches lie wholly within the first ``skip`` parts, and how many parts."""
    whole = parts = 0
    for more in _num_cuts(num_examples, batch_size, at_once):
        if parts + more > skip:
            break
        whole, parts = whole + 1, parts + more
    return whole, parts


def _num_cuts(num_examples: int, batch_size: int, at_once: int) -> list[int]:
    """Return in how many parts each of the even batches is run."""
    batches = np.array_split(np.arange(num_examples), num_batches(num_examples, batch_size))
    return [num_batches(len(batch), at_once) for batch in batches]


def _seen(
    training: Training, ids_B: Tensor, inputs: Tensor, view: int
) -> tuple[Tensor, Tensor, int]:
    return augment(inputs, ids_B, training.augmentation, training.seed, view), ids_B, view


def _unchanged(ids_B: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor, int]:
    return inputs, ids_B, 0
