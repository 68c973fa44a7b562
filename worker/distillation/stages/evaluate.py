"""Measure teacher, baseline and student side by side, on validation and on the untouched test part.

Where knowledge was taken over, or stands in for the teacher, the teacher's recorded answers are
measured and the teacher is not run over the data.

Shapes: B = batch, N = examples, C = outputs.
"""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from app.contracts.job import JobSpec, Phase
from app.contracts.report import ModelReport
from worker.distillation.build import load_model, read_config
from worker.distillation.comparison import Evaluation, compared
from worker.distillation.dataset import Dataset, Part
from worker.distillation.details import details
from worker.distillation.determinism import reproducible
from worker.distillation.device import choose_device
from worker.distillation.errors import BadInput
from worker.distillation.history import History
from worker.distillation.knowledge import HELD_OUT, is_reused, recorded_teacher_answers
from worker.distillation.metrics import scores
from worker.distillation.predictor import Restore
from worker.distillation.reporting import Pace, Reporter
from worker.distillation.teachers import load_teacher, member_folders, teacher_folder
from worker.distillation.workspace import Workspace

EXAMPLES_AT_ONCE = 512
LATENCY_WARM_UPS = 5
LATENCY_RUNS = 101
LATENCY_SECONDS = 2.0  # a large model is timed less often

Answers = dict[Part, Tensor]


@dataclass(frozen=True)
class Subject:
    """A model to be measured; of a teacher known by its recorded answers, those alone."""

    role: str
    folder: Path | None
    model: nn.Module | None
    recorded: Answers | None = None


def run(spec: JobSpec, workspace: Workspace, reporter: Reporter) -> None:
    """Write the folder `evaluation` with `report.json`, which is a `FullReport`.

    What exporting adds to it, the stage `export` adds.
    """
    data = Dataset.load(workspace.stage("prepared"))
    device = choose_device(spec.resources)
    subjects = _subjects(spec, workspace, data, device)
    num_batches = sum(len(list(data.batches(part, EXAMPLES_AT_ONCE))) for part in HELD_OUT)
    pace = Pace(Phase.EVALUATING, len(subjects) * num_batches, EXAMPLES_AT_ONCE)
    steps = _Steps(reporter, pace)
    with reproducible(device, deterministic=spec.training.deterministic):
        measured = [_measured(subject, data, device, steps) for subject in subjects]
    report = compared(measured, data, workspace.stage("student"), spec.training.seed)
    for warning in report.warnings:
        reporter.warn(warning)
    report = report.model_copy(update={"warnings": list(reporter.warnings)})
    with workspace.writing("evaluation") as folder:
        (folder / "report.json").write_text(report.model_dump_json(indent=2))


def _subjects(
    spec: JobSpec, workspace: Workspace, data: Dataset, device: torch.device
) -> list[Subject]:
    subjects = []
    teacher = load_teacher(spec, workspace, device)
    recorded = _recorded(workspace, data)
    if teacher is not None or recorded is not None:
        subjects.append(Subject("teacher", teacher_folder(spec, workspace), teacher, recorded))
    chain = workspace.stage("assistants")
    folders = sorted(chain.iterdir(), key=lambda path: int(path.name)) if chain.is_dir() else []
    roles = [(f"assistant_{number}", folder) for number, folder in enumerate(folders, start=1)]
    names = ["baseline", "student"] if spec.baseline else ["student"]
    roles += [(name, workspace.stage(name)) for name in names]
    return subjects + [Subject(role, folder, load_model(folder, device)) for role, folder in roles]


def _recorded(workspace: Workspace, data: Dataset) -> Answers | None:
    """Return the teacher's answers in the report's units, where they are to be used."""
    has_teacher = workspace.is_finished("teacher")
    if has_teacher and not is_reused(workspace.stage("knowledge")):
        return None
    recorded = recorded_teacher_answers(workspace)
    description = data.description
    if recorded is None or description.output_mean is None or description.output_std is None:
        return recorded
    restore = Restore(description.output_mean, description.output_std)
    return {part: restore(answers_NC) for part, answers_NC in recorded.items()}


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
    found = {part: _on_part(subject.model, data, part, device, steps) for part in HELD_OUT}
    for part, answers_NC in found.items():
        if not answers_NC.isfinite().all():
            raise BadInput(
                "non_finite_logits",
                f"The {subject.role}'s answers on the {part} part are not finite numbers",
                "Train it with a lower learning rate.",
            )
    return found


@torch.inference_mode()
def _on_part(
    model: nn.Module, data: Dataset, part: Part, device: torch.device, steps: _Steps
) -> Tensor:
    """Return the model's answers on a whole part, on the CPU, in the order of the ids."""
    batches = [torch.empty(0, data.num_outputs)]
    for ids in data.batches(part, EXAMPLES_AT_ONCE):
        inputs = torch.from_numpy(data.inputs[ids]).to(device).float()
        batches.append(model(inputs).float().cpu())
        steps.one_more()
    return torch.cat(batches)


def _about(subject: Subject, data: Dataset) -> tuple[dict[str, Any], History | None]:
    """Return what a report says of a model besides its scores; and its training's history."""
    if subject.model is None or subject.folder is None:
        return {}, None
    folders = member_folders(subject.folder)
    model = subject.model.cpu()
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
    """Return the median time of one example's forward pass."""
    for _ in range(LATENCY_WARM_UPS):
        model(example)
    seconds: list[float] = []
    while len(seconds) < LATENCY_RUNS and sum(seconds) < LATENCY_SECONDS:
        start = time.perf_counter()
        model(example)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
