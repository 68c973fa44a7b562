"""The teacher's knowledge of a dataset: planned, collected once, told apart, taken over.

A record holds the teacher's signals on every view of the train part that a training will see: one
an epoch where images are augmented, else one; and on the held-out parts, unchanged. It is collected
in the very batches of the training, because a matrix product's last bits depend on which examples
share it; so with augmentation live and recorded signals are equal bit for bit in float32. (Without,
all epochs share the first one's batches.)

Shapes: B = batch, C = outputs, N = held-out examples.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.contracts.knowledge import (
    MANIFEST_FILE,
    REUSED_FILE,
    Fingerprint,
    KnowledgeManifest,
    KnowledgeSettings,
    kept_as,
    views_of,
)
from app.contracts.message import WentOn
from app.contracts.objective import AnyLoss
from app.contracts.training import Training
from worker.distillation.checkpoint import Checkpoints, Mark
from worker.distillation.collection import Collection, num_parts, parts
from worker.distillation.dataset import Dataset, Part
from worker.distillation.determinism import reproducible
from worker.distillation.held_out import (
    ANSWERS_FILE,
    by_part,
    held_out_ids,
    keep_answers,
)
from worker.distillation.knowledge_layout import Layout
from worker.distillation.knowledge_store import (
    KnowledgeWriter,
    StoredKnowledge,
    go_on_from,
)
from worker.distillation.loss import Shapes
from worker.distillation.reporting import Pace, Reporter
from worker.distillation.signals import Signals
from worker.distillation.teaching import LiveTeaching
from worker.distillation.workspace import Workspace

DURABLE_EVERY_SECONDS = 10.0
ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class TeacherIdentity:
    """What tells one teacher's answers from another's."""

    weights: str
    architecture: str
    preprocessing: str


def planned(
    settings: KnowledgeSettings,
    training: Training,
    objective: Sequence[AnyLoss],
    dataset: Dataset,
    teacher: TeacherIdentity,
    layers: Shapes,
) -> KnowledgeManifest:
    """Return the manifest, without shards, of what a student needs to learn by ``objective``."""
    task = dataset.description.task
    storage, top_k = kept_as(settings, task, dataset.num_outputs, objective)
    names = list(layers)
    layout = Layout(storage, dataset.num_outputs, top_k, {name: layers[name] for name in names})
    return KnowledgeManifest(
        fingerprint=Fingerprint(
            teacher=teacher.weights,
            architecture=teacher.architecture,
            preprocessing=teacher.preprocessing,
            dataset=dataset.digest,
            views=views_of(training),
            precision=training.precision,
            collected="; ".join(["answers", *sorted(names)]),
            storage=storage if top_k is None else f"top_k of {top_k}",
        ),
        task=task,
        output_names=dataset.description.output_names,
        storage=storage,
        top_k=top_k,
        layers={name: list(layers[name]) for name in names},
        views=training.epochs if training.augmentation else 1,
        num_train=len(dataset.ids["train"]),
        num_held_out=len(held_out_ids(dataset)),
        row_bytes=layout.row_bytes,
        shards=[],
    )


def differences(
    given: KnowledgeManifest, expected: KnowledgeManifest, parts: Sequence[str]
) -> list[str]:
    """Say of each named part of the fingerprint how it differs from what is expected."""
    found = [
        f"{part}: given {getattr(given.fingerprint, part)}, "
        f"expected {getattr(expected.fingerprint, part)}"
        for part in parts
        if getattr(given.fingerprint, part) != getattr(expected.fingerprint, part)
    ]
    if given.views < expected.views:
        found.append(f"views: given {given.views}, expected one an epoch, {expected.views}")
    if missing := sorted(set(expected.layers) - set(given.layers)):
        found.append(f"collected: given no features of {', '.join(missing)}")
    return found


def collect(
    collection: Collection,
    teaching: LiveTeaching,
    folder: Path,
    reporter: Reporter,
    checkpoints: Checkpoints,
    start: Mark,
) -> KnowledgeManifest:
    """Run the teacher over all that is to be kept, into ``folder``; ``start`` is its first batch.

    What an earlier run has left half-way in the folder, or in a checkpoint of this role, is gone
    on with.

    Raises:
        BadInput: a signal is not finite or too large for its storage.
        Stopped: at a batch's boundary, after a checkpoint where one was asked for.
    """
    newest = checkpoints.newest(start.role)
    if newest is not None:
        go_on_from(newest, folder)
    writer = KnowledgeWriter(folder, collection.manifest)
    if writer.done:
        reporter.send(WentOn(phase=start.phase, role=start.role, step=writer.done))
    else:
        checkpoints.discard(start.role)
    (folder / ANSWERS_FILE).unlink(missing_ok=True)  # it may be of another record
    batches, manifest = parts(collection, writer.done), collection.manifest
    steps, num_rows = num_parts(collection), manifest.bytes // manifest.row_bytes
    pace, held_out = Pace(start.phase, steps, num_rows / steps), list[Tensor]()
    durable_at = time.monotonic()
    with reproducible(collection.device, deterministic=collection.training.deterministic):
        for done, (rows_B, load) in enumerate(batches, start=writer.done):
            if checkpoints.due:
                writer.flush(done)
                checkpoints.write(replace(start, step=done), writer.copy_to)
            reporter.progress(partial(pace.at, done))
            signals = teaching.signals(*load())
            writer.write(rows_B, signals)
            if rows_B[0] >= manifest.views * manifest.num_train:
                held_out.append(signals.logits_BC.cpu())
            if time.monotonic() - durable_at > DURABLE_EVERY_SECONDS:
                writer.flush(done + 1)
                durable_at = time.monotonic()
    # A run that goes on among them has not seen them all; and in low precision they are others.
    if collection.training.precision == "float32" and (
        0 < manifest.num_held_out == sum(map(len, held_out))
    ):
        keep_answers(held_out, folder)
    return writer.finish()


def take_over(source: Path, folder: Path) -> None:
    """Use knowledge that lies elsewhere: link its files, or copy them, and say so.

    Raises:
        BadInput: it is damaged.
    """
    manifest = StoredKnowledge.open(source).manifest
    for name in [*(shard.path for shard in manifest.shards), MANIFEST_FILE]:
        try:
            (folder / name).hardlink_to(source / name)
        except OSError:
            shutil.copyfile(source / name, folder / name)
    (folder / REUSED_FILE).touch()


def is_reused(folder: Path) -> bool:
    """Say whether a stage's output was taken over from an earlier run, with nothing run."""
    return (folder / REUSED_FILE).is_file()


def recorded_teacher_answers(workspace: Workspace) -> dict[Part, Tensor] | None:
    """Return the teacher's recorded answers (N, C) on each held-out part; none where not kept.

    Logits, or predictions in standard deviations; in the order of the part's ids.
    """
    if not workspace.is_finished("knowledge"):
        return None
    stored = StoredKnowledge.open(workspace.stage("knowledge"))
    manifest = stored.manifest
    if manifest.num_held_out == 0:
        return None
    dataset = Dataset.load(workspace.stage("prepared"))
    rows_N = manifest.views * manifest.num_train + np.arange(manifest.num_held_out)
    return by_part(stored.signals(rows_N, torch.device("cpu")).logits_BC, dataset)


def write_signals(
    collection: Collection, ids_N: npt.NDArray[np.int64], logits_NC: Tensor, folder: Path
) -> KnowledgeManifest:
    """Keep answers that came from elsewhere: of every train example, and of all held out or none.

    ``ids_N`` ascend.
    """
    writer = KnowledgeWriter(folder, collection.manifest)
    dataset = collection.dataset
    wanted = [dataset.ids["train"]]
    if collection.manifest.num_held_out:
        wanted.append(held_out_ids(dataset))
    ids = np.concatenate(wanted)
    for start in range(0, len(ids), ROWS_AT_ONCE):
        part = ids[start : start + ROWS_AT_ONCE]
        places = torch.from_numpy(np.searchsorted(ids_N, part))
        writer.write(np.arange(start, start + len(part)), Signals(logits_NC[places]))
    return writer.finish()
