"""From models measured one by one to a report of what distilling brought.

Shapes: N = examples, C = outputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from app.contracts.report import (
    FullReport,
    Initialization,
    Interval,
    ModelDetails,
    ModelReport,
    Repair,
    Scores,
)
from app.contracts.report_figures import QUALITIES, shown_gain_interval, shown_quality
from worker.distillation.bootstrap import Samples, interval, resampled
from worker.distillation.dataset import PARTS, Dataset
from worker.distillation.metrics import COMPARED_BY, fidelity
from worker.distillation.tallies import Floats

Contract = TypeVar("Contract", Repair, Initialization)

INITIALIZATION_FILE = "initialization.json"
REPAIR_FILE = "repair.json"


@dataclass(frozen=True)
class Evaluation:
    """One model as it was measured."""

    role: str
    report: ModelReport
    details: ModelDetails
    test_NC: Tensor
    """Its answers on test, in the report's units."""


def compared(
    measured: Sequence[Evaluation], data: Dataset, student_folder: Path, seed: int
) -> FullReport:
    """Return the report of the student and of what stands beside it, with its warnings."""
    by_role = {each.role: each for each in measured}
    task = data.description.task
    labels = torch.from_numpy(data.labels[data.ids["test"]])
    answers = {role: each.test_NC for role, each in by_role.items()}
    samples = resampled(answers, labels, task, seed)
    reports = {role: _with_intervals(by_role[role].report, samples[role]) for role in by_role}
    teacher, student = reports.get("teacher"), reports["student"]
    report = FullReport(
        task=task,
        compared_by=COMPARED_BY[task],
        teacher=teacher,
        assistants=[each for role, each in reports.items() if role.startswith("assistant")],
        baseline=reports.get("baseline"),
        student=student,
        fidelity=fidelity(answers["student"], answers["teacher"], task) if teacher else None,
        compression=_ratio(teacher, student, "num_parameters"),
        speedup=_ratio(teacher, student, "latency_seconds"),
        num_examples={part: len(data.ids[part]) for part in PARTS},
        output_names=data.description.output_names,
        repair=_read(Repair, student_folder / REPAIR_FILE),
        initialization=_read(Initialization, student_folder / INITIALIZATION_FILE),
        details={role: each.details for role, each in by_role.items()},
    )
    report = _with_gain(report, samples)
    return report.model_copy(update={"warnings": _warnings(report)})


def _with_intervals(report: ModelReport, samples: Samples) -> ModelReport:
    intervals = {name: interval(values_R) for name, values_R in samples.items()}
    test = report.test.model_copy(update={"intervals": intervals})
    return report.model_copy(update={"test": test})


def _ratio(teacher: ModelReport | None, student: ModelReport, figure: str) -> float | None:
    above = getattr(teacher, figure, None)
    return above / getattr(student, figure) if above is not None else None


def _read(contract: type[Contract], path: Path) -> Contract | None:
    return contract.model_validate_json(path.read_text()) if path.is_file() else None


def _with_gain(report: FullReport, samples: dict[str, Samples]) -> FullReport:
    if report.baseline is None:
        return report
    qualities = {role: each[report.compared_by] for role, each in samples.items()}
    baseline, student = report.baseline.test.quality, report.student.test.quality
    gain, gain_R = student - baseline, qualities["student"] - qualities["baseline"]
    found: dict[str, float | Interval | None] = {"gain": gain, "gain_interval": interval(gain_R)}
    if report.teacher is not None and report.teacher.test.quality > baseline:
        gap_R = qualities["teacher"] - qualities["baseline"]
        found["gap_recovered"] = gain / (report.teacher.test.quality - baseline)
        found["gap_interval"] = _share_interval(gain_R, gap_R)
    return report.model_copy(update=found)


def _share_interval(gain_R: Floats, gap_R: Floats) -> Interval | None:
    """Return the interval of gain / gap, where the gap is above 0 in 95 of 100 samples too."""
    if interval(gap_R).low <= 0:
        return None
    has_gap_R = gap_R > 0
    return interval(gain_R[has_gap_R] / gap_R[has_gap_R])


def _warnings(report: FullReport) -> list[str]:
    """Say what a hurried reader of the report would miss."""
    if report.baseline is None:
        return []
    warnings = _teacher_gate(report, report.baseline)
    student, baseline = (_shown(report, each.test) for each in (report.student, report.baseline))
    if report.student.test.quality <= report.baseline.test.quality:
        warnings.append(
            f"The student ({student} on test) is no better than the same model trained without a "
            f"teacher ({baseline}): here, distillation brought nothing."
        )
    elif report.gain_interval is not None and report.gain_interval.low <= 0:
        warnings.append(
            f"The gain ({student} on test, {baseline} without a teacher) is not told apart from "
            f"chance on {report.num_examples['test']:,} test examples: its 95 % interval is "
            f"{shown_gain_interval(report)}."
        )
    return warnings


def _teacher_gate(report: FullReport, baseline: ModelReport) -> list[str]:
    """Warn of a teacher no better than the baseline, on validation where there is any."""
    teacher = report.teacher
    if teacher is None:
        return []
    part, of_teacher, of_baseline = "test", teacher.test, baseline.test
    if teacher.validation is not None and baseline.validation is not None:
        part, of_teacher, of_baseline = "validation", teacher.validation, baseline.validation
    if of_teacher.quality > of_baseline.quality:
        return []
    return [
        (
            f"The teacher ({_shown(report, of_teacher)} on {part}) is no better than the student "
            f"architecture trained without it ({_shown(report, of_baseline)}): it has little to "
            "teach."
        )
    ]


def _shown(report: FullReport, scores: Scores) -> str:
    value = shown_quality(report, scores.quality)
    return value if report.compared_by == "accuracy" else f"{QUALITIES[report.compared_by]} {value}"
