"""Run the teacher once over all that the student will see, and record its logits; into `knowledge`.

Shapes: V = views, N = train examples, C = classes.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch

from app.contracts.job import JobSpec, Phase
from worker.distillation.build import load_model
from worker.distillation.dataset import Dataset
from worker.distillation.determinism import reproducible
from worker.distillation.device import choose_device
from worker.distillation.feed import Feed, num_batches
from worker.distillation.knowledge import (
    KnowledgeRecord,
    LiveTeaching,
    collect_view,
    planned,
    rows_by_id,
)
from worker.distillation.objective import needs
from worker.distillation.reporting import Pace, Reporter
from worker.distillation.workspace import Workspace

MOST_BYTES = 2 * 2**30
"""A record fits beside the data on any worker's disk; above, the teacher runs along instead, which
takes no longer: each view is used by one epoch only."""


def run(spec: JobSpec, workspace: Workspace, reporter: Reporter) -> None:
    """Leave logits.npy (V, N, C) and knowledge.json, or nothing where the student needs neither.

    Nothing, too, where a loss reads the teacher's features or the record would be too large: the
    teacher then runs along with the student.
    """
    needed = needs(spec.objective)
    if not needed.teacher or needed.teacher_layers:
        return
    dataset = Dataset.load(workspace.stage("prepared"))
    record = planned(spec.training, dataset, workspace.stage("teacher") / "model.safetensors")
    reporter.metrics(0, {"knowledge/bytes": float(record.bytes)})
    if record.bytes > MOST_BYTES:
        reporter.warn(
            f"the teacher's answers would take {record.bytes:,} bytes, more than {MOST_BYTES:,}; "
            "they are not kept, and the teacher runs along with the student"
        )
        return
    with workspace.writing("knowledge") as folder:
        _collect(spec, workspace, dataset, record, folder, reporter)
        (folder / "knowledge.json").write_text(record.model_dump_json(indent=2))


def _collect(
    spec: JobSpec,
    workspace: Workspace,
    dataset: Dataset,
    record: KnowledgeRecord,
    folder: Path,
    reporter: Reporter,
) -> None:
    training, device = spec.training, choose_device(spec.resources)
    shape = (record.views, record.num_examples, dataset.num_classes)
    logits_VNC = np.lib.format.open_memmap(
        folder / "logits.npy", mode="w+", dtype=np.float32, shape=shape
    )
    steps = num_batches(record.num_examples, training.batch_size)
    pace = Pace(Phase.COLLECTING_KNOWLEDGE, record.views * steps, training.batch_size)
    rows, feed = rows_by_id(dataset, device), Feed(dataset, device)
    with reproducible(device, deterministic=training.deterministic):
        teaching = LiveTeaching(load_model(workspace.stage("teacher"), device), training.precision)
        for view in range(record.views):
            logits_NC = torch.empty(shape[1:], device=device)
            batches = collect_view(view, teaching, training, dataset, feed)
            for done, (ids_B, logits_BC) in enumerate(batches):
                reporter.progress(partial(pace.at, view * steps + done))
                logits_NC[rows[ids_B]] = logits_BC
            logits_VNC[view] = logits_NC.cpu().numpy()
    logits_VNC.flush()
