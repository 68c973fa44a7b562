"""Measure teacher, baseline and student side by side, on validation and on the untouched test part.

The teacher is not run over the data where it has been, when its knowledge was collected. Where that
was taken over, or stands in for the teacher, the recorded answers are measured; but a teacher that
is there is run, if they are too rough to tell how good it is.

Shapes: B = batch, N = examples, C = outputs.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from app.contracts.job import JobSpec, Phase
from app.contracts.model import KnowledgeTeacher
from app.contracts.report import ModelReport
from worker.distillation.build import load_model, read_config
from worker.distillation.comparison import Evaluation, compared
from worker.distillation.dataset import Dataset, Part
from worker.distillation.details import details
from worker.distillation.determinism import reproducible
from worker.distillation.device import choose_device
from worker.distillation.errors import BadInput
from worker.distillation.feed import even_batches, num_batches
from worker.distillation.few_classes import tell_of_few
from worker.distillation.held_out import (
    EXAMPLES_AT_ONCE,
    HELD_OUT,
    by_part,
    held_out_ids,
    kept_answers,
)
from worker.distillation.history import History
from worker.distillation.knowledge import is_reused, recorded_teacher_answers
from worker.distillation.knowledge_store import read_manifest
from worker.distillation.metrics import scores
from worker.distillation.predictor import Restore
from worker.distillation.reporting import Pace, Reporter
from worker.distillation.schemes import links
from worker.distillation.teachers import Teacher, load_teacher, member_folders, teacher_folder
from worker.distillation.teaching import LiveTeaching
from worker.distillation.workspace import Workspace

LATENCY_WARM_UPS = 5
LATENCY_RUNS = 51
LATENCY_SECONDS = 0.25  # a large model is timed less often

Answers = dict[Part, Tensor]


@dataclass(frozen=True)
class Subject:
    """A model to be measured; of a teacher known by its recorded answers, those alone."""

    role: str
    folder: Path | None
    model: Teacher | None
    recorded: Answers | None = None


def run(spec: JobSpec, workspace: Workspace, reporter: Reporter) -> None:
    """Write the folder `evaluation` with `report.json`, which is a `FullReport`.

    What exporting adds to it, the stage `export` adds.
    """
    data = Dataset.load(workspace.stage("prepared"))
    device = choose_device(spec.resources)
    subjects = _subjects(spec, workspace, data, device)
    _warn_of_rounding(subjects, workspace, reporter)
    _warn_of_few(spec, workspace, reporter)
    num_runs = sum(subject.recorded is None for subject in subjects)
    num_held_out = len(held_out_ids(data))
    in_a_run = num_batches(num_held_out, EXAMPLES_AT_ONCE)
    pace = Pace(Phase.EVALUATING, num_runs * in_a_run, num_held_out / in_a_run)
    steps = _Steps(reporter, pace)
    with reproducible(device, deterministic=spec.training.deterministic):
        measured = [_measured(subject, data, device, steps) for subject in subjects]
    report = compared(measured, data, workspace.stage("student"), spec.training.seed)
    for warning in report.warnings:
        reporter.warn(warning)
    report = report.model_copy(update={"warnings": list(reporter.warnings)})
    if spec.transfer.omit_classes:
        seen = data.transfer_set(spec.transfer.omit_classes)
        report.num_examples["transfer"] = len(seen.ids["train"])
    with workspace.writing("evaluation") as folder:
        (folder / "report.json").write_text(report.model_dump_json(indent=2))


def _subjects(
    spec: JobSpec, workspace: Workspace, data: Dataset, device: torch.device
) -> list[Subject]:
    subjects = []
    teacher = load_teacher(spec, workspace, device)
    recorded = _recorded(spec, workspace, data)
    if teacher is not None or recorded is not None:
        subjects.append(Subject("teacher", teacher_folder(spec, workspace), teacher, recorded))
    chain = workspace.stage("assistants")
    folders = sorted(chain.iterdir(), key=lambda path: int(path.name)) if chain.is_dir() else []
    roles = [(f"assistant_{number}", folder) for number, folder in enumerate(folders, start=1)]
    names = ["baseline", "student"] if spec.baseline else ["student"]
    roles += [(name, workspace.stage(name)) for name in names]
    return subjects + [Subject(role, folder, load_model(folder, device)) for role, folder in roles]


def _recorded(spec: JobSpec, workspace: Workspace, data: Dataset) -> Answers | None:
    """Return the teacher's answers in the report's units, where it need not be run for them."""
    if workspace.is_finished("teacher") and not is_reused(workspace.stage("knowledge")):
        # What was collected from the last of a chain is not the teacher's.
        kept_NC = None if links(spec) else kept_answers(workspace.stage("knowledge"))
        recorded = None if kept_NC is None else by_part(kept_NC, data)
    elif workspace.is_finished("teacher") and _is_rough(workspace.stage("knowledge")):
        recorded = None
    else:
        recorded = recorded_teacher_answers(workspace)
    description = data.description
    if recorded is None or description.output_mean is None or description.output_std is None:
        return recorded
    restore = Restore(description.output_mean, description.output_std)
    return {part: restore(answers_NC) for part, answers_NC in recorded.items()}


def _is_rough(folder: Path) -> bool:
    """Say whether recorded answers are so far from the model's own that its figures differ."""
    knowledge = read_manifest(folder)
    return knowledge.storage == "top_k" or knowledge.fingerprint.precision != "float32"


def _warn_of_rounding(
    subjects: Sequence[Subject], workspace: Workspace, reporter: Reporter
) -> None:
    """Warn where all that is known of the teacher is a record of its most probable classes."""
    if subjects[0].recorded is None or subjects[0].model is not None:
        return
    knowledge = read_manifest(workspace.stage("knowledge"))
    if knowledge.storage == "top_k":
        reporter.warn(
            f"The teacher's figures are of its answers as they were kept, the {knowledge.top_k} "
            f"most probable of {len(knowledge.output_names):,} classes and rounded; by its own "
            "answers they may be others."
        )


def _warn_of_few(spec: JobSpec, workspace: Workspace, reporter: Reporter) -> None:
    """Warn again of records that an earlier run has left, which warned of them."""
    brought = isinstance(spec.teacher, KnowledgeTeacher)
    objectives = {f"{link.role}_knowledge": link.objective for link in links(spec)}
    for name, objective in (objectives | {"knowledge": spec.objective}).items():
        if workspace.is_finished(name):
            record = read_manifest(workspace.stage(name))
            tell_of_few(record, objective, reporter, brought=brought)


class _Steps:
    """Counts batches, of all models together."""

    def __init__(self, reporter: Reporter, pace: Pace) -> None:
        self._reporter, self._pace, self._done = reporter, pace, 0

    def one_more(self) -> None:
        self._done += 1
        self._reporter.progress(lambda: self._pace.at(self._done))


def _measured(subject: Subject, data: Dataset, device: torch.device, steps: _Steps) -> Evaluation:
    answers = subject.recorded or _answers(subject, data, device, steps)
    task = data.description.task
    labels = {part: torch.from_numpy(data.labels[data.ids[part]]) for part in HELD_OUT}
    part_scores = {
        part: scores(answers_NC, labels[part], task)
        for part, answers_NC in answers.items()
        if len(answers_NC) > 0
    }
    about, history = _about(subject, data)
    report = ModelReport(
        **about, validation=part_scores.get("validation"), test=part_scores["test"]
    )
    description = data.description
    return Evaluation(
        subject.role,
        report,
        details(answers["test"], labels["test"], task, description.output_names, history),
        answers["test"],
    )


def _answers(subject: Subject, data: Dataset, device: torch.device, steps: _Steps) -> Answers:
    assert subject.model is not None  # noqa: S101 (without a model there are recorded answers)
    found = by_part(_on_held_out(subject.model, data, device, steps), data)
    for part, answers_NC in found.items():
        if not answers_NC.isfinite().all():
            raise BadInput(
                "non_finite_logits",
                f"The {subject.role}'s answers on the {part} part are not finite numbers",
                "Train it with a lower learning rate.",
            )
    return found


def _on_held_out(model: Teacher, data: Dataset, device: torch.device, steps: _Steps) -> Tensor:
    """Return the model's answers (N, C) on the held-out examples, on the CPU, by ascending id.

    Run as a teacher is when its knowledge is collected, batch for batch: the answers are the same
    to the last bit, whoever runs it.
    """
    live = LiveTeaching(model, "float32")
    batches = [torch.empty(0, data.num_outputs)]
    for ids_B in even_batches(held_out_ids(data), EXAMPLES_AT_ONCE):
        inputs = torch.from_numpy(data.inputs[ids_B]).to(device).float()
        batches.append(live.signals(inputs, torch.from_numpy(ids_B), 0).logits_BC.cpu())
        steps.one_more()
    answers_NC: Tensor = model.restore.cpu()(torch.cat(batches))
    return answers_NC


def _about(subject: Subject, data: Dataset) -> tuple[dict[str, Any], History | None]:
    """Return what a report says of a model besides its scores; and its training's history."""
    if subject.model is None or subject.folder is None:
        return {}, None
    folders = member_folders(subject.folder)
    model: nn.Module = subject.model.cpu()
    # The layout that people run a model in.
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    example = torch.from_numpy(np.array(data.inputs[data.ids["test"][:1]])).float()
    histories = [History.load(folder) for folder in folders]
    alone = histories[0] if len(histories) == 1 else None
    about = {
        "architecture": " + ".join(read_config(folder).architecture.name for folder in folders),
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "flops": _flops(model, example),
        "bytes": sum((folder / "model.safetensors").stat().st_size for folder in folders),
        "latency_seconds": _latency_seconds(model, example),
        "epoch": alone.epoch if alone else None,
    }
    return about, alone


@torch.inference_mode()
def _flops(model: nn.Module, example: Tensor) -> int:
    """Return the floating-point operations of one example; those of products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        model(example)
    return int(counter.get_total_flops())


@torch.inference_mode()
def _latency_seconds(model: nn.Module, example: Tensor) -> float:
    """Return the median time of one example's forward pass, of up to 51 in a quarter second."""
    for _ in range(LATENCY_WARM_UPS):
        model(example)
    seconds: list[float] = []
    while len(seconds) < LATENCY_RUNS and sum(seconds) < LATENCY_SECONDS:
        start = time.perf_counter()
        model(example)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
