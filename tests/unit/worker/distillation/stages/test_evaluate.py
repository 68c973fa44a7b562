"""Models of known answers, measured side by side."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.contracts.job import JobSpec
from app.contracts.report import Report
from tests.unit.worker.distillation.specs import Heard, spec_of, workspace_with
from tests.unit.worker.distillation.trained import KEPT_EPOCH, leave_models
from worker.distillation.errors import BadInput, Stopped
from worker.distillation.stages import evaluate, prepare
from worker.distillation.workspace import Workspace

# Of a train part that is small and a test part of 6 zeros, 3 ones and 1 two.
ROWS = ["0"] * 6 + ["1"] * 3 + ["2"]
ROLES = ("teacher", "baseline", "student")


def table_spec(**changes: object) -> JobSpec:
    dataset = {
        "source": "file",
        "file": "file-table",
        "format": {"name": "csv"},
        "split": {"validation": 0.25, "test": 0.5},
    }
    return spec_of(dataset=dataset, **changes)


def table() -> bytes:
    rows = [f"{place},{label}" for place, label in enumerate(ROWS * 8)]
    return "\n".join(["x,label", *rows]).encode()


def evaluated(
    folder: Path, says: Mapping[str, int | None], spec: JobSpec | None = None
) -> tuple[Report, Heard]:
    heard = Heard()
    spec = spec or table_spec()
    workspace = workspace_with(folder, table=table())
    prepare.run(spec, workspace, Heard().reporter)
    leave_models(spec, workspace, says)
    evaluate.run(spec, workspace, heard.reporter)
    return report_in(workspace), heard


def report_in(workspace: Workspace) -> Report:
    return Report.model_validate_json((workspace.stage("evaluation") / "report.json").read_text())


def test_the_gain_and_the_share_of_the_gap_are_of_test_accuracy(tmp_path: Path) -> None:
    report, heard = evaluated(tmp_path, {"teacher": 0, "baseline": 2, "student": 1})

    assert report.baseline is not None
    assert report.teacher.test.accuracy == pytest.approx(0.6)
    assert report.baseline.test.accuracy == pytest.approx(0.1)
    assert report.student.test.accuracy == pytest.approx(0.3)
    assert report.gain == pytest.approx(0.2)
    assert report.gap_recovered == pytest.approx(0.4)
    assert heard.reporter.warnings == report.warnings == []


def test_a_teacher_no_better_than_the_baseline_is_warned_of_and_leaves_no_gap(
    tmp_path: Path,
) -> None:
    report, heard = evaluated(tmp_path, {"teacher": 1, "baseline": 1, "student": 0})

    assert report.gap_recovered is None
    assert report.gain == pytest.approx(0.3)
    (warning,) = report.warnings
    assert "The teacher (30.00% on test) is no better" in warning
    assert heard.reporter.warnings == [warning]


def test_a_student_no_better_than_the_baseline_is_said_to_be(tmp_path: Path) -> None:
    report, _ = evaluated(tmp_path, {"teacher": 0, "baseline": 1, "student": 1})

    assert (report.gain, report.gap_recovered) == (0, 0)
    assert "The student (30.00% on test) is no better" in report.warnings[0]


def test_without_a_baseline_there_is_no_gain(tmp_path: Path) -> None:
    report, _ = evaluated(tmp_path, {"teacher": 0, "student": 1}, table_spec(baseline=False))

    assert (report.baseline, report.gain, report.gap_recovered) == (None, None, None)
    assert report.warnings == []


def test_fidelity_compares_student_and_teacher(tmp_path: Path) -> None:
    report, _ = evaluated(tmp_path, {"teacher": 0, "baseline": 0, "student": 1})
    said, unsaid = (math.exp(logit) / (math.exp(2) + 2) for logit in (2, 0))

    assert report.fidelity.agreement == 0
    assert report.fidelity.mean_divergence == pytest.approx(2 * (said - unsaid), rel=1e-5)


def test_models_are_described(tmp_path: Path) -> None:
    report, _ = evaluated(tmp_path, dict.fromkeys(ROLES))

    # 1 input, 32 or 8 hidden units, 3 classes
    assert report.teacher.num_parameters == 32 + 32 + 3 * 32 + 3
    assert report.student.num_parameters == 8 + 8 + 3 * 8 + 3
    assert report.compression == pytest.approx(163 / 43)
    assert report.teacher.architecture == "mlp"
    assert report.teacher.epoch == KEPT_EPOCH
    assert report.student.bytes == (tmp_path / "student/model.safetensors").stat().st_size
    assert report.speedup == pytest.approx(
        report.teacher.latency_seconds / report.student.latency_seconds
    )
    assert 0 < report.student.latency_seconds < 1


def test_all_examples_of_each_part_are_measured_in_any_number_of_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.distillation.stages.evaluate.EXAMPLES_AT_ONCE", 7)

    report, _ = evaluated(tmp_path, {"teacher": 0, "baseline": 2, "student": 1})

    assert report.num_examples == {"train": 20, "validation": 20, "test": 40}
    assert report.student.validation is not None
    assert report.student.validation.num_examples == 20
    assert (report.student.test.num_examples, report.student.test.errors) == (40, 28)
    assert report.output_names == ["0", "1", "2"]


def test_without_a_validation_part_there_are_no_scores_of_it(tmp_path: Path) -> None:
    dataset = {"source": "builtin", "name": "wine", "split": {"validation": 0}}

    report, _ = evaluated(tmp_path, dict.fromkeys(ROLES), spec_of(dataset=dataset))

    assert report.student.validation is None


def test_evaluating_stops_when_it_is_asked_to(tmp_path: Path) -> None:
    spec, heard = table_spec(), Heard()
    workspace = workspace_with(tmp_path, table=table())
    prepare.run(spec, workspace, heard.reporter)
    leave_models(spec, workspace, dict.fromkeys(ROLES))
    heard.reporter.stop_requested = True

    with pytest.raises(Stopped):
        evaluate.run(spec, workspace, heard.reporter)
    assert not workspace.is_finished("evaluation")


def test_answers_that_are_not_numbers_fail_the_job(tmp_path: Path) -> None:
    spec, heard = table_spec(), Heard()
    workspace = workspace_with(tmp_path, table=table())
    prepare.run(spec, workspace, heard.reporter)
    leave_models(spec, workspace, dict.fromkeys(ROLES))
    file = workspace.stage("student") / "model.safetensors"
    save_file({name: each * torch.nan for name, each in load_file(file).items()}, file)

    with pytest.raises(BadInput) as caught:
        evaluate.run(spec, workspace, heard.reporter)

    assert caught.value.code == "non_finite_logits"
    assert "student" in str(caught.value)
