"""Models of known answers, measured side by side."""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from app.contracts.job import JobSpec
from app.contracts.message import StopReason
from app.contracts.report import FullReport
from tests.unit.worker.distillation.specs import MLP, Heard, spec_of, workspace_with
from tests.unit.worker.distillation.trained import KEPT_EPOCH, leave_model, leave_models
from worker.distillation.dataset import Dataset
from worker.distillation.errors import BadInput, Stopped
from worker.distillation.held_out import ANSWERS_FILE
from worker.distillation.knowledge import is_reused
from worker.distillation.report_page import report_page
from worker.distillation.stages import collect_knowledge, evaluate, prepare, train_assistants
from worker.distillation.teachers import ENSEMBLE_FILE, EnsembleConfig
from worker.distillation.workspace import Workspace

# Of a train part that is small and a test part of 6 zeros, 3 ones and 1 two.
ROWS = ["0"] * 6 + ["1"] * 3 + ["2"]
ROLES = ("teacher", "baseline", "student")


def table_dataset(**format_: object) -> dict[str, object]:
    return {
        "source": "file",
        "file": "file-table",
        "format": {"name": "csv", **format_},
        "split": {"validation": 0.25, "test": 0.5},
    }


def table_spec(**changes: object) -> JobSpec:
    return spec_of(**{"dataset": table_dataset(), **changes})


def table() -> bytes:
    rows = [f"{place},{label}" for place, label in enumerate(ROWS * 8)]
    return "\n".join(["x,label", *rows]).encode()


def evaluated(
    folder: Path,
    says: Mapping[str, int | None],
    spec: JobSpec | None = None,
    content: bytes | None = None,
) -> tuple[FullReport, Heard]:
    spec = spec or table_spec()
    workspace = prepared(folder, spec, table() if content is None else content)
    leave_models(spec, workspace, says)
    return evaluated_in(workspace, spec)


def prepared(folder: Path, spec: JobSpec, content: bytes, **files: bytes) -> Workspace:
    workspace = workspace_with(folder, table=content, **files)
    prepare.run(spec, workspace, Heard().reporter)
    return workspace


def evaluated_in(workspace: Workspace, spec: JobSpec) -> tuple[FullReport, Heard]:
    heard = Heard()
    evaluate.run(spec, workspace, heard.reporter)
    text = (workspace.stage("evaluation") / "report.json").read_text()
    return FullReport.model_validate_json(text), heard


def test_the_gain_and_the_share_of_the_gap_are_of_test_accuracy(tmp_path: Path) -> None:
    report, heard = evaluated(tmp_path, {"teacher": 0, "baseline": 2, "student": 1})

    assert report.baseline is not None
    assert report.teacher is not None
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
    assert "The teacher (30.00% on validation) is no better" in warning
    assert heard.reporter.warnings == [warning]


def test_without_a_validation_part_the_teacher_is_judged_on_test(tmp_path: Path) -> None:
    dataset = {**table_dataset(), "split": {"validation": 0, "test": 0.5}}

    report, _ = evaluated(
        tmp_path, {"teacher": 1, "baseline": 1, "student": 0}, table_spec(dataset=dataset)
    )

    assert "The teacher (30.00% on test) is no better" in report.warnings[0]


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

    assert report.fidelity is not None
    assert report.fidelity.agreement == 0
    assert report.fidelity.mean_divergence == pytest.approx(2 * (said - unsaid), rel=1e-5)


def test_models_are_described(tmp_path: Path) -> None:
    report, _ = evaluated(tmp_path, dict.fromkeys(ROLES))

    assert report.teacher is not None
    # 1 input, 32 or 8 hidden units, 3 classes
    assert report.teacher.num_parameters == 32 + 32 + 3 * 32 + 3
    assert report.student.num_parameters == 8 + 8 + 3 * 8 + 3
    assert report.compression == pytest.approx(163 / 43)
    # Two operations for each weight of the two layers.
    assert report.student.flops == 2 * (8 + 3 * 8)
    assert report.teacher.architecture == "mlp"
    assert report.teacher.epoch == KEPT_EPOCH
    assert report.student.bytes == (tmp_path / "student/model.safetensors").stat().st_size
    assert report.teacher.latency_seconds is not None
    assert report.student.latency_seconds is not None
    assert report.speedup == pytest.approx(
        report.teacher.latency_seconds / report.student.latency_seconds
    )
    assert 0 < report.student.latency_seconds < 30


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


def test_the_examples_left_without_omitted_classes_are_counted_apart(tmp_path: Path) -> None:
    spec = table_spec(transfer={"omit_classes": ["1"]})

    report, _ = evaluated(tmp_path, {"teacher": 0, "baseline": 2, "student": 1}, spec)

    # Of 20 for training 3 in 10 are of the class.
    assert report.num_examples == {"train": 20, "validation": 20, "test": 40, "transfer": 14}
    assert report.student.validation is not None
    assert report.student.validation.num_examples == 20
    assert "20 examples to train on (14 for student and baseline" in report_page(report, "job")


def test_without_a_validation_part_there_are_no_scores_of_it(tmp_path: Path) -> None:
    dataset = {"source": "builtin", "name": "wine", "split": {"validation": 0}}

    report, _ = evaluated(tmp_path, dict.fromkeys(ROLES), spec_of(dataset=dataset))

    assert report.student.validation is None


def test_evaluating_stops_when_it_is_asked_to(tmp_path: Path) -> None:
    spec, heard = table_spec(), Heard()
    workspace = workspace_with(tmp_path, table=table())
    prepare.run(spec, workspace, heard.reporter)
    leave_models(spec, workspace, dict.fromkeys(ROLES))
    heard.reporter.stop_reason = StopReason.CANCEL

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


def test_labels_are_scored_where_they_are_known(tmp_path: Path) -> None:
    dataset = table_dataset(task="multi_label", targets=["first", "second"])
    rows = ["1,1,0", "2,1,", "3,0,0", "4,1,1"]
    content = "\n".join(["x,first,second", *rows * 20]).encode()

    report, _ = evaluated(
        tmp_path,
        {"teacher": 0, "baseline": 1, "student": 0},
        table_spec(dataset=dataset),
        content,
    )

    assert (report.task, report.compared_by) == ("multi_label", "macro_f1")
    data = Dataset.load(tmp_path / "prepared")
    first, second = data.labels[data.ids["test"]].T
    known = second[~np.isnan(second)]
    # The first label is always said, the second never.
    assert report.student.test.errors == (first == 0).sum() + (known == 1).sum()
    assert report.student.test.accuracy == pytest.approx(
        ((first == 1).sum() + (known == 0).sum()) / (len(first) + len(known))
    )
    share = first.mean()
    assert report.student.test.macro_f1 == pytest.approx((2 * share / (1 + share) + 0) / 2)
    assert report.fidelity is not None
    assert (report.fidelity.agreement, report.fidelity.mean_divergence) == (1, 0)
    assert [each.name for each in report.details["student"].outputs] == ["first", "second"]


def test_numbers_are_scored_in_the_units_of_the_data(tmp_path: Path) -> None:
    dataset = table_dataset(task="regression", targets=["price"])
    content = "\n".join(["x,price", *(f"{n},{1000 + 10 * (n % 2)}" for n in range(80))]).encode()

    report, _ = evaluated(
        tmp_path, {"baseline": 0, "student": 0, "teacher": 0}, table_spec(dataset=dataset), content
    )

    # All say two deviations above the mean: some 1,015 for 1,000 and 1,010.
    assert (report.task, report.compared_by) == ("regression", "r2")
    assert report.student.test.mae == pytest.approx(10, abs=1)
    assert report.student.test.rmse == pytest.approx(math.sqrt((15**2 + 5**2) / 2), abs=1)
    assert report.student.test.r2 == report.student.test.quality
    assert report.fidelity is not None
    assert (report.fidelity.rmse, report.gain) == (0, 0)


def test_a_teacher_of_whom_only_answers_are_known_is_scored_by_them(tmp_path: Path) -> None:
    teacher = {"source": "signals", "file": "file-signals", "values": "logits"}
    spec = table_spec(teacher=teacher)
    num_rows = len(ROWS) * 8
    says = pa.table(
        {"example_id": range(num_rows), "0": [2.0] * num_rows, "1": [0.0] * num_rows}
        | {"2": [0.0] * num_rows}
    )
    sink = pa.BufferOutputStream()
    pq.write_table(says, sink)
    workspace = prepared(tmp_path, spec, table(), signals=sink.getvalue().to_pybytes())
    collect_knowledge.run(spec, workspace, Heard().reporter)
    leave_models(spec, workspace, {"baseline": 2, "student": 1})

    report, _ = evaluated_in(workspace, spec)

    assert report.teacher is not None
    assert report.teacher.test.accuracy == pytest.approx(0.6)
    assert report.teacher.validation is not None
    assert (report.teacher.architecture, report.teacher.latency_seconds) == (None, None)
    assert (report.compression, report.speedup) == (None, None)
    assert report.gap_recovered == pytest.approx(0.4)
    assert report.fidelity is not None
    assert report.fidelity.agreement == 0
    assert report.details["teacher"].curve == []


@pytest.mark.parametrize("targets", ["classes", "numbers"])
def test_what_a_teacher_answered_while_it_was_collected_is_what_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, targets: str
) -> None:
    monkeypatch.setattr("worker.distillation.stages.evaluate._latency_seconds", lambda *_: 1.0)
    of_numbers = {"task": "regression", "targets": ["label"]}
    spec = table_spec(dataset=table_dataset(**(of_numbers if targets == "numbers" else {})))
    workspace = prepared(tmp_path, spec, table())
    leave_models(spec, workspace, dict.fromkeys(ROLES))
    collect_knowledge.run(spec, workspace, Heard().reporter)

    kept = workspace.stage("knowledge") / ANSWERS_FILE

    by_what_it_answered, _ = evaluated_in(workspace, spec)
    kept.unlink()
    shutil.rmtree(workspace.stage("evaluation"))
    by_a_run, _ = evaluated_in(workspace, spec)

    assert by_what_it_answered == by_a_run


def test_a_teacher_is_not_run_again_for_what_it_has_answered(tmp_path: Path) -> None:
    spec = table_spec()
    workspace = prepared(tmp_path, spec, table())
    leave_models(spec, workspace, {"teacher": 0, "baseline": 2, "student": 1})
    collect_knowledge.run(spec, workspace, Heard().reporter)
    kept = workspace.stage("knowledge") / ANSWERS_FILE
    # Had it answered class 1 every time.
    save_file({"answers": load_file(kept)["answers"].roll(1, dims=1)}, kept)

    report, _ = evaluated_in(workspace, spec)

    assert report.teacher is not None
    assert report.teacher.test.accuracy == pytest.approx(0.3)


def taken_over(workspace: Workspace, spec: JobSpec) -> None:
    """Collect, and then take over what was collected, as a second job does."""
    collect_knowledge.run(spec, workspace, Heard().reporter)
    workspace.stage("knowledge").rename(workspace.input("knowledge"))
    collect_knowledge.run(spec, workspace, Heard().reporter)
    assert is_reused(workspace.stage("knowledge"))


@pytest.mark.parametrize(
    "changes",
    [
        {"knowledge": {"storage": "top_k", "top_k": 1}},
        {"training": {"precision": "bfloat16"}},
    ],
    ids=["top_k", "bfloat16"],
)
def test_a_teacher_is_as_good_in_the_second_job_as_in_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    monkeypatch.setattr("worker.distillation.stages.evaluate._latency_seconds", lambda *_: 1.0)
    spec = table_spec(**changes)
    workspace = prepared(tmp_path, spec, table())
    leave_models(spec, workspace, dict.fromkeys(ROLES))
    collect_knowledge.run(spec, workspace, Heard().reporter)
    first, _ = evaluated_in(workspace, spec)
    for name in ("evaluation", "knowledge"):
        shutil.rmtree(workspace.stage(name))

    taken_over(workspace, spec)
    second, _ = evaluated_in(workspace, spec)

    assert second == first


def test_a_second_job_does_not_run_the_teacher_for_answers_that_are_exact_enough(
    tmp_path: Path,
) -> None:
    spec = table_spec()
    workspace = prepared(tmp_path, spec, table())
    leave_models(spec, workspace, {"teacher": 0, "baseline": 2, "student": 1})
    taken_over(workspace, spec)
    shutil.rmtree(workspace.stage("teacher"))
    leave_models(spec, workspace, {"teacher": 1})

    report, _ = evaluated_in(workspace, spec)

    assert report.teacher is not None
    assert report.teacher.test.accuracy == pytest.approx(0.6)


@pytest.mark.parametrize("storage", ["float16", "top_k"])
def test_a_teacher_known_by_its_most_probable_classes_alone_is_warned_of(
    tmp_path: Path, storage: str
) -> None:
    kept = {"storage": storage, "top_k": 2}
    first = table_spec(knowledge=kept)
    workspace = prepared(tmp_path, first, table())
    leave_models(first, workspace, {"teacher": 0, "baseline": 2, "student": 1})
    collect_knowledge.run(first, workspace, Heard().reporter)
    workspace.stage("knowledge").rename(workspace.input("knowledge-1"))
    shutil.rmtree(workspace.stage("teacher"))
    teacher = {"source": "knowledge", "knowledge": "knowledge-1"}
    spec = table_spec(teacher=teacher, knowledge=kept)
    collect_knowledge.run(spec, workspace, Heard().reporter)

    report, _ = evaluated_in(workspace, spec)

    said = [each for each in report.warnings if "the 2 most probable of 3 classes" in each]
    assert len(said) == (storage == "top_k")
    of_few = [each for each in report.warnings if each.startswith("of 3 classes the 2 most")]
    assert len(of_few) == (storage == "top_k")
    assert all("or knowledge that is kept in float16" in each for each in of_few)


def test_a_run_that_goes_on_says_again_that_few_classes_teach(tmp_path: Path) -> None:
    spec = table_spec(knowledge={"storage": "top_k", "top_k": 2})
    workspace = prepared(tmp_path, spec, table())
    leave_models(spec, workspace, {"teacher": 0, "baseline": 2, "student": 1})
    first = Heard()
    collect_knowledge.run(spec, workspace, first.reporter)
    (said,) = first.reporter.warnings

    report, _ = evaluated_in(workspace, spec)
    heard = Heard()
    heard.reporter.warnings.append(said)
    shutil.rmtree(workspace.stage("evaluation"))
    evaluate.run(spec, workspace, heard.reporter)

    assert said in report.warnings
    assert heard.reporter.warnings.count(said) == 1


def test_a_run_that_goes_on_says_again_that_few_classes_teach_an_assistant(
    tmp_path: Path,
) -> None:
    softened = {"loss": "reverse_kl", "temperature": 2}
    spec = table_spec(
        assistants=[{"architecture": MLP, "training": {"epochs": 1}, "objective": [softened]}],
        objective=[{"loss": "labels"}],
        knowledge={"storage": "top_k", "top_k": 2},
    )
    workspace = prepared(tmp_path, spec, table())
    leave_models(spec, workspace, {"teacher": 0, "baseline": 2, "student": 1})
    first = Heard()
    train_assistants.run(spec, workspace, first.reporter)
    (said,) = first.reporter.warnings

    report, _ = evaluated_in(workspace, spec)

    assert "at the temperature of 'reverse_kl'" in said
    assert report.warnings.count(said) == 1


def test_what_was_collected_of_the_last_assistant_is_not_the_teachers(tmp_path: Path) -> None:
    spec = table_spec(assistants=[{"architecture": MLP}])
    workspace = prepared(tmp_path, spec, table())
    leave_models(spec, workspace, {"teacher": 0, "baseline": 2, "student": 1})
    description = Dataset.load(workspace.stage("prepared")).description
    with workspace.writing("assistants") as folder:
        (folder / "1").mkdir()
        leave_model(folder / "1", spec.student.architecture, description, seed=0, label=1)
    collect_knowledge.run(spec, workspace, Heard().reporter)

    report, _ = evaluated_in(workspace, spec)

    assert report.teacher is not None
    assert report.teacher.test.accuracy == pytest.approx(0.6)


def test_assistants_are_measured_too(tmp_path: Path) -> None:
    spec = table_spec(assistants=[{"architecture": MLP}, {"architecture": MLP}])
    workspace = prepared(tmp_path, spec, table())
    leave_models(spec, workspace, {"teacher": 0, "baseline": 2, "student": 1})
    description = Dataset.load(workspace.stage("prepared")).description
    with workspace.writing("assistants") as folder:
        for number, label in enumerate((0, 1)):
            (folder / str(number)).mkdir()
            leave_model(folder / str(number), spec.student.architecture, description, 0, label)

    report, _ = evaluated_in(workspace, spec)

    assert [each.test.accuracy for each in report.assistants] == pytest.approx([0.6, 0.3])
    assert set(report.details) == {
        "teacher",
        "assistant_1",
        "assistant_2",
        "baseline",
        "student",
    }


def test_an_ensemble_is_one_teacher_of_all_its_members(tmp_path: Path) -> None:
    member = {"teacher": {"source": "train", "architecture": MLP}}
    teacher = {"source": "ensemble", "members": [member] * 2, "mean": "logits"}
    spec = table_spec(teacher=teacher)
    workspace = prepared(tmp_path, spec, table())
    leave_models(spec, workspace, {"baseline": 2, "student": 1})
    description = Dataset.load(workspace.stage("prepared")).description
    with workspace.writing("teacher") as folder:
        for number, label in enumerate((0, 1)):
            (folder / f"member-{number}").mkdir()
            leave_model(
                folder / f"member-{number}", spec.student.architecture, description, 0, label
            )
        config = EnsembleConfig(weights=[3, 1], mean="logits")
        (folder / ENSEMBLE_FILE).write_text(config.model_dump_json())

    report, _ = evaluated_in(workspace, spec)

    assert report.teacher is not None
    assert report.teacher.architecture == "mlp + mlp"
    assert (report.compression, report.teacher.flops) == (2, 2 * 64)
    assert report.teacher.test.accuracy == pytest.approx(0.6)
    assert report.teacher.bytes == 2 * (report.student.bytes or 0)


def test_in_mutual_learning_the_peer_is_the_teacher(tmp_path: Path) -> None:
    spec = table_spec(teacher={"source": "mutual", "architecture": MLP})
    workspace = prepared(tmp_path, spec, table())
    leave_models(spec, workspace, {"baseline": 2, "student": 1})
    description = Dataset.load(workspace.stage("prepared")).description
    peer = workspace.stage("student") / "peer"
    peer.mkdir()
    leave_model(peer, spec.student.architecture, description, 0, 0)

    report, _ = evaluated_in(workspace, spec)

    assert report.teacher is not None
    assert report.teacher.test.accuracy == pytest.approx(0.6)
    assert report.gap_recovered == pytest.approx(0.4)
