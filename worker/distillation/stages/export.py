"""Write what the job delivers into `outputs`: the student, the teacher, the report, a manifest."""

import hashlib
import importlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from app.contracts.job import JobSpec, Phase
from app.contracts.message import Manifest, OutputFile
from app.contracts.model import TrainedTeacher
from app.contracts.report import Report
from worker.distillation.build import load_model
from worker.distillation.card import model_card, preprocessor_config
from worker.distillation.dataset import Dataset
from worker.distillation.reporting import Pace, Reporter
from worker.distillation.workspace import Workspace

EXAMPLES_TO_CHECK = 8


def run(spec: JobSpec, workspace: Workspace, reporter: Reporter) -> None:
    """Write `student`, `teacher` if the job trained it, `report.json`, and last `manifest.json`.

    Raises BadExport where an exported file does not answer as the student does.
    """
    with workspace.writing("outputs") as folder:
        shutil.copyfile(workspace.stage("evaluation") / "report.json", folder / "report.json")
        _write_student(spec, workspace, reporter, folder / "student")
        if isinstance(spec.teacher, TrainedTeacher):
            (folder / "teacher").mkdir()
            for name in ("config.json", "model.safetensors"):
                shutil.copyfile(workspace.stage("teacher") / name, folder / "teacher" / name)
        (folder / "manifest.json").write_text(_manifest(folder).model_dump_json(indent=2))


def _write_student(spec: JobSpec, workspace: Workspace, reporter: Reporter, folder: Path) -> None:
    folder.mkdir()
    data = Dataset.load(workspace.stage("prepared"))
    finished = workspace.stage("student")
    # A copy for each, since an exporter may move or trace its model.
    formats = dict.fromkeys(spec.export)
    pace = Pace(Phase.EXPORTING, len(formats), batch_size=1)
    for number, name in enumerate(formats, start=1):
        module = importlib.import_module(f"worker.distillation.exporters.{name}")
        write: Callable[..., None] = module.write
        write(load_model(finished), data.description, _examples(data), folder)
        reporter.progress(partial(pace.at, number))
    shutil.copyfile(finished / "config.json", folder / "config.json")
    report_text = (workspace.stage("evaluation") / "report.json").read_text()
    (folder / "report.json").write_text(report_text)
    report = Report.model_validate_json(report_text)
    (folder / "README.md").write_text(model_card(spec, data.description, report))
    (folder / "preprocessor_config.json").write_text(
        json.dumps(preprocessor_config(data.description), indent=2)
    )


def _examples(data: Dataset) -> Tensor:
    """Return some real test examples, raw; a test part of the data's own may hold but one."""
    return torch.from_numpy(np.array(data.inputs[data.ids["test"][:EXAMPLES_TO_CHECK]])).float()


def _manifest(folder: Path) -> Manifest:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return Manifest(
        files=[
            OutputFile(
                path=path.relative_to(folder).as_posix(),
                bytes=path.stat().st_size,
                sha256=_sha256(path),
            )
            for path in files
        ]
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
