"""Measure teacher, baseline and student side by side, on validation and on the untouched test part.

Shapes: B = batch, N = examples, C = classes.
"""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from app.contracts.job import JobSpec, Phase
from app.contracts.report import ModelReport, Report
from worker.distillation.build import load_model, read_config
from worker.distillation.dataset import PARTS, Dataset, Part
from worker.distillation.determinism import reproducible
from worker.distillation.device import choose_device
from worker.distillation.errors import BadInput
from worker.distillation.history import History
from worker.distillation.metrics import fidelity, scores
from worker.distillation.reporting import Pace, Reporter
from worker.distillation.workspace import Workspace

EVALUATED: tuple[Part, ...] = ("validation", "test")
EXAMPLES_AT_ONCE = 512
LATENCY_WARM_UPS = 5
LATENCY_RUNS = 101
LATENCY_SECONDS = 2.0  # a large model is timed less often


@dataclass(frozen=True)
class Measured:
    """A model's report, with the logits (N, C) on test that comparisons need."""

    report: ModelReport
    test_NC: Tensor


def run(spec: JobSpec, workspace: Workspace, reporter: Reporter) -> None:
    """Write the folder `evaluation` with `report.json`, which is a `Report`."""
    data = Dataset.load(workspace.stage("prepared"))
    device = choose_device(spec.resources)
    roles = ["teacher", *(["baseline"] if spec.baseline else []), "student"]
    num_batches = sum(len(list(data.batches(part, EXAMPLES_AT_ONCE))) for part in EVALUATED)
    pace = Pace(Phase.EVALUATING, len(roles) * num_batches, EXAMPLES_AT_ONCE)
    with reproducible(device, deterministic=spec.training.deterministic):
        measured = {
            role: _measured(workspace.stage(role), data, device, _Steps(reporter, pace, number))
            for number, role in zip(range(0, pace.steps, num_batches), roles, strict=True)
        }
    report = _report(measured, data)
    for warning in _warnings(report):
        reporter.warn(warning)
    report = report.model_copy(update={"warnings": list(reporter.warnings)})
    with workspace.writing("evaluation") as folder:
        (folder / "report.json").write_text(report.model_dump_json(indent=2))


class _Steps:
    """Counts batches, of all models together."""

    def __init__(self, reporter: Reporter, pace: Pace, done: int) -> None:
        self._reporter, self._pace, self._done = reporter, pace, done

    def one_more(self) -> None:
        self._done += 1
        self._reporter.progress(lambda: self._pace.at(self._done))


def _measured(folder: Path, data: Dataset, device: torch.device, steps: _Steps) -> Measured:
    model = load_model(folder, device)
    logits = {part: _logits(model, data, part, device, steps) for part in EVALUATED}
    for part, logits_NC in logits.items():
        if not logits_NC.isfinite().all():
            raise BadInput(
                "non_finite_logits",
                f"The {folder.name}'s answers on the {part} part are not finite numbers",
                "Train it with a lower learning rate.",
            )
    part_scores = {
        part: scores(logits_NC, torch.from_numpy(data.labels[data.ids[part]]))
        for part, logits_NC in logits.items()
        if len(logits_NC) > 0
    }
    example = torch.from_numpy(np.array(data.inputs[data.ids["test"][:1]])).float()
    report = ModelReport(
        architecture=read_config(folder).architecture.name,
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        bytes=(folder / "model.safetensors").stat().st_size,
        latency_seconds=_latency_seconds(model.cpu(), example),
        epoch=History.load(folder).epoch,
        validation=part_scores.get("validation"),
        test=part_scores["test"],
    )
    return Measured(report, logits["test"])


@torch.inference_mode()
def _logits(
    model: nn.Module, data: Dataset, part: Part, device: torch.device, steps: _Steps
) -> Tensor:
    """Return the model's answers on a whole part, on the CPU, in the order of the ids."""
    batches = [torch.empty(0, data.num_outputs)]
    for ids in data.batches(part, EXAMPLES_AT_ONCE):
        inputs = torch.from_numpy(data.inputs[ids]).to(device).float()
        batches.append(model(inputs).float().cpu())
        steps.one_more()
    return torch.cat(batches)


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


def _report(measured: dict[str, Measured], data: Dataset) -> Report:
    teacher, student = measured["teacher"].report, measured["student"].report
    baseline = measured["baseline"].report if "baseline" in measured else None
    gain = gap_recovered = None
    if baseline is not None:
        gain = student.test.accuracy - baseline.test.accuracy
        gap = teacher.test.accuracy - baseline.test.accuracy
        gap_recovered = gain / gap if gap > 0 else None
    return Report(
        teacher=teacher,
        baseline=baseline,
        student=student,
        fidelity=fidelity(
            student_NC=measured["student"].test_NC, teacher_NC=measured["teacher"].test_NC
        ),
        gain=gain,
        gap_recovered=gap_recovered,
        compression=teacher.num_parameters / student.num_parameters,
        speedup=teacher.latency_seconds / student.latency_seconds,
        num_examples={part: len(data.ids[part]) for part in PARTS},
        output_names=data.description.output_names,
    )


def _warnings(report: Report) -> list[str]:
    """Say what a hurried reader of the report would miss."""
    if report.baseline is None:
        return []
    teacher, baseline, student = (
        f"{model.test.accuracy:.2%}" for model in (report.teacher, report.baseline, report.student)
    )
    warnings = []
    if report.teacher.test.accuracy <= report.baseline.test.accuracy:
        warnings.append(
            f"The teacher ({teacher} on test) is no better than the student architecture trained "
            f"without it ({baseline}): it has little to teach."
        )
    if report.student.test.accuracy <= report.baseline.test.accuracy:
        warnings.append(
            f"The student ({student} on test) is no better than the same model trained without a "
            f"teacher ({baseline}): here, distillation brought nothing."
        )
    return warnings
