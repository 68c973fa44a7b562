"""Write what the job delivers into `outputs`: the student, the teacher, the report, a manifest."""

import importlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from app.contracts.export import ExportFormat
from app.contracts.job import JobSpec, Phase
from app.contracts.model import TrainedTeacher
from app.contracts.report import ExportedFile, FullReport
from worker.distillation.build import load_model
from worker.distillation.card import model_card, preprocessor_config
from worker.distillation.dataset import Dataset
from worker.distillation.latency import latencies
from worker.distillation.manifest import write_manifest
from worker.distillation.reporting import Pace, Reporter
from worker.distillation.workspace import Workspace

EXAMPLES_TO_CHECK = 8
WEIGHTS = {".safetensors", ".onnx"}


def run(spec: JobSpec, workspace: Workspace, reporter: Reporter) -> None:
    """Write `student`, `teacher` if the job trained one, the report, and last `manifest.json`.

    The report, `report.json` and `report.html`, has the exported files in it with their latency.
    Raises BadExport where an exported file does not answer as the student does.
    """
    data = Dataset.load(workspace.stage("prepared"))
    with workspace.writing("outputs") as folder:
        _write_student(spec, workspace, data, reporter, folder / "student")
        if isinstance(spec.teacher, TrainedTeacher):
            _write_teacher(workspace.stage("teacher"), data, folder / "teacher", spec.teacher_onnx)
        evaluated = (workspace.stage("evaluation") / "report.json").read_text()
        report = FullReport.model_validate_json(evaluated).model_copy(
            update={"exports": _exports(folder, data)}
        )
        _write_report(spec, data, report, folder)
        write_manifest(folder)


def _write_student(
    spec: JobSpec, workspace: Workspace, data: Dataset, reporter: Reporter, folder: Path
) -> None:
    folder.mkdir()
    finished = workspace.stage("student")
    formats = dict.fromkeys(spec.export)
    pace = Pace(Phase.EXPORTING, len(formats), batch_size=1)
    for number, name in enumerate(formats, start=1):
        _write_format(name, finished, data, folder)
        reporter.progress(partial(pace.at, number))
    shutil.copyfile(finished / "config.json", folder / "config.json")
    (folder / "preprocessor_config.json").write_text(
        json.dumps(preprocessor_config(data.description), indent=2)
    )


def _write_teacher(finished: Path, data: Dataset, folder: Path, as_onnx: bool) -> None:  # noqa: FBT001 (the spec's own)
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(finished / name, folder / name)
    if as_onnx:
        _write_format("onnx", finished, data, folder)


def _write_format(name: ExportFormat, finished: Path, data: Dataset, folder: Path) -> None:
    module = importlib.import_module(f"worker.distillation.exporters.{name}")
    write: Callable[..., None] = module.write
    # A copy for each, since an exporter may move or trace its model.
    write(load_model(finished), data.description, _examples(data), folder)


def _write_report(spec: JobSpec, data: Dataset, report: FullReport, folder: Path) -> None:
    # Only now: what draws takes long to load, and a trainer begins sooner without it.
    from worker.distillation.report_page import report_page  # noqa: PLC0415

    text = report.model_dump_json(indent=2)
    for path in (folder / "report.json", folder / "student" / "report.json"):
        path.write_text(text)
    name = spec.name or f"{spec.student.architecture.name} student"
    (folder / "report.html").write_text(report_page(report, name), encoding="utf-8")
    (folder / "student" / "README.md").write_text(model_card(spec, data.description, report))


def _exports(folder: Path, data: Dataset) -> list[ExportedFile]:
    """Measure every file of weights that the student is delivered in."""
    example = _examples(data)[:1].numpy()
    found = []
    for path in sorted((folder / "student").rglob("*")):
        if path.suffix not in WEIGHTS:
            continue
        timed = latencies(path, example) if path.suffix == ".onnx" else (None, None)
        found.append(
            ExportedFile(
                path=path.relative_to(folder).as_posix(),
                bytes=path.stat().st_size,
                latency_p50_seconds=timed[0],
                latency_p95_seconds=timed[1],
            )
        )
    return found


def _examples(data: Dataset) -> Tensor:
    """Return some real test examples, raw; a test part of the data's own may hold but one."""
    return torch.from_numpy(np.array(data.inputs[data.ids["test"][:EXAMPLES_TO_CHECK]])).float()
