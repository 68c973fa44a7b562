"""What a job delivers: whole, listed, and the same bytes whenever it is written again."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from app.contracts.job import JobSpec
from app.contracts.message import Manifest
from app.contracts.model import RegisteredTeacher
from app.contracts.report import FullReport
from tests.unit.worker.distillation.specs import MLP, Heard, spec_of, workspace_with
from tests.unit.worker.distillation.trained import leave_models
from worker.distillation.build import load_model, read_config
from worker.distillation.card import model_card, preprocessor_config
from worker.distillation.dataset import Dataset, InputDescription
from worker.distillation.stages import evaluate, export, prepare
from worker.distillation.workspace import Workspace

NAME = 'a --- <script>name</script>: with\n"quotes", # signs and [links](http://x)'
ALWAYS = {"config.json", "README.md", "report.json", "preprocessor_config.json"}


def evaluated(folder: Path, spec: JobSpec, **files: bytes) -> Workspace:
    workspace = workspace_with(folder, **files)
    prepare.run(spec, workspace, Heard().reporter)
    leave_models(spec, workspace, {"teacher": None, "baseline": 0, "student": None})
    evaluate.run(spec, workspace, Heard().reporter)
    return workspace


def exported(folder: Path, **changes: object) -> Path:
    spec = spec_of(**changes)
    workspace = evaluated(folder, spec)
    export.run(spec, workspace, Heard().reporter)
    return workspace.stage("outputs")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give what a job with both formats delivers, under a name that is hard to quote."""
    return exported(tmp_path_factory.mktemp("job"), name=NAME)


def names_under(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("formats", "files"),
    [
        (["safetensors"], {"model.safetensors"}),
        (["onnx"], {"onnx/model.onnx"}),
        (["onnx", "safetensors"], {"onnx/model.onnx", "model.safetensors"}),
    ],
    ids=["safetensors", "onnx", "both"],
)
def test_the_student_comes_in_the_formats_asked_for(
    formats: list[str], files: set[str], tmp_path: Path
) -> None:
    assert names_under(exported(tmp_path, export=formats) / "student") == ALWAYS | files


def test_the_manifest_lists_every_other_file_with_its_digest(outputs: Path) -> None:
    manifest = Manifest.model_validate_json((outputs / "manifest.json").read_text())
    assert {file.path for file in manifest.files} == names_under(outputs) - {"manifest.json"}
    for file in manifest.files:
        content = (outputs / file.path).read_bytes()
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        assert file.bytes == len(content)


def test_a_teacher_that_the_job_trained_is_delivered_too(outputs: Path) -> None:
    assert names_under(outputs / "teacher") == {"config.json", "model.safetensors"}
    assert read_config(outputs / "teacher").architecture.name == "mlp"


def test_a_teacher_is_delivered_as_onnx_where_that_is_asked_for(tmp_path: Path) -> None:
    outputs = exported(tmp_path, export=["safetensors"], teacher_onnx=True)

    session = onnxruntime.InferenceSession(outputs / "teacher" / "onnx" / "model.onnx")
    weights = load_model(outputs / "teacher")
    example = torch.ones(1, *session.get_inputs()[0].shape[1:])
    (own,) = session.run(None, {"inputs": example.numpy()})
    torch.testing.assert_close(torch.from_numpy(own), weights(example).detach())
    assert not (outputs / "student" / "onnx").exists()


def test_a_registered_teacher_is_not_delivered_again(tmp_path: Path) -> None:
    spec = spec_of(export=["safetensors"])
    workspace = evaluated(tmp_path, spec)
    teacher = RegisteredTeacher(model="model-1")

    export.run(spec.model_copy(update={"teacher": teacher}), workspace, Heard().reporter)

    assert not (workspace.stage("outputs") / "teacher").exists()


def test_writing_again_gives_the_same_bytes_but_for_what_is_timed(tmp_path: Path) -> None:
    spec = spec_of()
    workspace = evaluated(tmp_path, spec)
    digests = []
    for name in ("once", "again"):
        export.run(spec, workspace, Heard().reporter)
        manifest = (workspace.stage("outputs") / "manifest.json").read_text()
        files = Manifest.model_validate_json(manifest).files
        digests.append({file.path: file.sha256 for file in files})
        workspace.stage("outputs").rename(tmp_path / name)

    once, again = digests
    timed = {"report.json", "report.html", "student/report.json"}
    assert once.keys() == again.keys() >= timed
    assert {path for path in once if once[path] != again[path]} <= timed


def test_the_report_has_the_exported_files_in_it(outputs: Path) -> None:
    report = FullReport.model_validate_json((outputs / "report.json").read_text())

    weights, onnx = report.exports
    assert (weights.path, onnx.path) == ("student/model.safetensors", "student/onnx/model.onnx")
    for file in report.exports:
        assert file.bytes == (outputs / file.path).stat().st_size
    assert (weights.latency_p50_seconds, weights.latency_p95_seconds) == (None, None)
    assert onnx.latency_p50_seconds is not None
    assert onnx.latency_p95_seconds is not None
    assert 0 < onnx.latency_p50_seconds <= onnx.latency_p95_seconds < 30
    assert (outputs / "student" / "report.json").read_bytes() == (
        outputs / "report.json"
    ).read_bytes()


def test_the_page_is_of_the_final_report_and_under_the_jobs_name(outputs: Path) -> None:
    page = (outputs / "report.html").read_text(encoding="utf-8")

    assert "student/onnx/model.onnx" in page
    assert "&lt;script&gt;name&lt;/script&gt;" in page
    assert "<script" not in page


def test_the_delivered_files_answer_alike(outputs: Path) -> None:
    data = Dataset.load(outputs.parent / "prepared")
    inputs = data.inputs[data.ids["test"]].astype(np.float32)

    session = onnxruntime.InferenceSession(outputs / "student" / "onnx" / "model.onnx")
    (from_onnx,) = session.run(["logits"], {"inputs": inputs})
    from_safetensors = load_model(outputs / "student")(torch.from_numpy(inputs)).detach().numpy()
    np.testing.assert_allclose(from_onnx, from_safetensors, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("task", "output"), [("multi_label", "logits"), ("regression", "predictions")]
)
def test_labels_and_numbers_are_exported_and_described(
    task: str, output: str, tmp_path: Path
) -> None:
    format_ = {"name": "csv", "task": task, "targets": ["first", "second"]}
    rows = (f"{number},{number % 2},{number % 3 // 2}" for number in range(60))
    spec = spec_of(dataset={"source": "file", "file": "file-table", "format": format_})
    content = "\n".join(["x,first,second", *rows]).encode()
    workspace = evaluated(tmp_path, spec, table=content)

    export.run(spec, workspace, Heard().reporter)

    student = workspace.stage("outputs") / "student"
    inputs = np.array([[1.0], [2.0], [3.0]], np.float32)
    session = onnxruntime.InferenceSession(student / "onnx" / "model.onnx")
    (answers,) = session.run([output], {"inputs": inputs})
    expected = load_model(student)(torch.from_numpy(inputs)).detach().numpy()
    np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-4)

    card = (student / "README.md").read_text()
    metrics = front_matter(card)["model-index"][0]["results"][0]["metrics"]
    shown = {
        "multi_label": {"accuracy", "f1", "log_loss"},
        "regression": {"rmse", "mae", "r_squared"},
    }
    assert {each["type"] for each in metrics} == shown[task]
    quality = {"multi_label": "macro F1", "regression": "R2"}[task]
    assert re.search(rf"Gain over the baseline: [+-]\d\.\d+ of {quality} \(95 % interval", card)


def test_the_card_of_a_student_of_recorded_answers_names_no_teacher(tmp_path: Path) -> None:
    teacher = {"source": "knowledge", "knowledge": "knowledge-1"}
    spec = spec_of(teacher=teacher, export=["onnx"], baseline=False)
    workspace = workspace_with(tmp_path)
    prepare.run(spec, workspace, Heard().reporter)
    leave_models(spec, workspace, {"student": None})
    evaluate.run(spec, workspace, Heard().reporter)

    export.run(spec, workspace, Heard().reporter)

    card = (workspace.stage("outputs") / "student" / "README.md").read_text()
    assert "distilled from recorded answers. It tells 10 classes apart." in card
    assert "| | student |" in card
    assert "Gain" not in card


def front_matter(card: str) -> dict[str, Any]:
    _, matter, _ = card.split("---\n", maxsplit=2)
    parsed = yaml.safe_load(matter)
    assert isinstance(parsed, dict)
    return parsed


def test_the_cards_front_matter_is_what_the_hub_reads(outputs: Path) -> None:
    report = json.loads((outputs / "report.json").read_text())

    matter = front_matter((outputs / "student" / "README.md").read_text())

    assert matter["pipeline_tag"] == "image-classification"
    assert matter["tags"] == ["knowledge-distillation", "safetensors", "onnx"]
    assert "license" not in matter
    (index,) = matter["model-index"]
    assert index["name"] == " ".join(NAME.split())
    (result,) = index["results"]
    assert result["task"] == {"type": "image-classification"}
    assert {each["type"]: each["value"] for each in result["metrics"]} == {
        "accuracy": report["student"]["test"]["accuracy"],
        "f1": report["student"]["test"]["macro_f1"],
        "log_loss": report["student"]["test"]["log_loss"],
    }


REGISTERED = {"source": "model", "model": "model-1"}
START = {"architecture": MLP, "initialize": {"from": "model", "model": "model-2"}}
MEMBERS = [{"teacher": {**REGISTERED, "model": f"model-{number}"}} for number in (3, 4)]


@pytest.mark.parametrize(
    ("changes", "bases"),
    [
        ({"name": "a b"}, "a-b-teacher"),
        ({}, None),
        ({"name": "a", "teacher": REGISTERED}, "model-1"),
        ({"name": "a", "student": START}, ["a-teacher", "model-2"]),
        ({"teacher": REGISTERED, "student": START}, ["model-1", "model-2"]),
        (
            {"teacher": {"source": "ensemble", "mean": "logits", "members": MEMBERS}},
            ["model-3", "model-4"],
        ),
        ({"name": "a", "teacher": {"source": "knowledge", "knowledge": "knowledge-1"}}, None),
    ],
)
def test_the_card_names_the_models_that_the_student_comes_from(
    outputs: Path, changes: dict[str, object], bases: object
) -> None:
    report = FullReport.model_validate_json((outputs / "report.json").read_text())
    description = read_config(outputs / "student").description

    card = ModelCard(model_card(spec_of(**changes), description, report))

    assert card.data.get("base_model") == bases
    (result, *_) = card.data["eval_results"]
    assert result.metric_value == report.student.test.accuracy


def test_the_card_sets_teacher_baseline_and_student_side_by_side(outputs: Path) -> None:
    report = json.loads((outputs / "report.json").read_text())

    card = (outputs / "student" / "README.md").read_text()

    row = re.search(r"\| test errors \|(.*)\|(.*)\|(.*)\|", card)
    assert row is not None
    for cell, role in zip(row.groups(), ("teacher", "baseline", "student"), strict=True):
        assert cell.strip() == f"{report[role]['test']['errors']} of 360"


def test_a_name_cannot_put_markup_into_the_card(outputs: Path) -> None:
    card = (outputs / "student" / "README.md").read_text()

    assert "<script>" not in card.split("---\n", maxsplit=2)[2]
    assert "[here](" not in card.split("---\n", maxsplit=2)[2]


def test_the_code_in_the_card_runs(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = outputs / "student"
    blocks = re.findall(r"```python\n(.*?)```", (student / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(student)

    assert len(blocks) == 2
    for block in blocks:
        names: dict[str, Any] = {}
        exec(compile(block, "README.md", "exec"), names)  # noqa: S102 (our own card)
        assert names["logits"].shape == (1, 10)


def test_how_to_prepare_inputs_is_said_for_images(outputs: Path) -> None:
    config = json.loads((outputs / "student" / "preprocessor_config.json").read_text())

    assert config["size"] == {"height": 8, "width": 8}
    assert (config["do_rescale"], config["do_normalize"]) == (False, False)
    assert "0 to 255" in config["note"]


def test_images_are_not_said_to_be_stretched(outputs: Path) -> None:
    config = json.loads((outputs / "student" / "preprocessor_config.json").read_text())
    card = (outputs / "student" / "README.md").read_text()

    assert config["do_resize"] is False
    for text in (config["note"], card):
        assert "its longer side becomes 8 pixels" in text
        assert "in the middle of black, and what is transparent is black too" in text
        assert "as in training" not in text


def test_images_of_no_square_have_that_size() -> None:
    description = InputDescription(
        kind="image", shape=[1, 6, 9], mean=[0], std=[1], output_names=["a", "b"]
    )

    note = preprocessor_config(description)["note"]

    assert isinstance(note, str)
    assert "9 x 6 pixels" in note
    assert "black" not in note


def test_how_to_prepare_inputs_is_said_for_tables(tmp_path: Path) -> None:
    dataset = {"source": "builtin", "name": "wine"}
    outputs = exported(tmp_path, export=["safetensors"], dataset=dataset)

    config = json.loads((outputs / "student" / "preprocessor_config.json").read_text())

    assert config["columns"][0] == {"name": "alcohol", "categories": None}
    assert len(config["columns"]) == 13
