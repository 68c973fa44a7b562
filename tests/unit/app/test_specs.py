"""What a spec means is checked before anything is queued."""

import io
import tarfile
import zipfile
from typing import Any

import pytest

from tests.unit.app.conftest import JOBS, Api, spec
from tests.unit.app.refused import model_of, refusals, warnings

MLP = {"name": "mlp", "hidden_sizes": [8]}
WINE = {"source": "builtin", "name": "wine"}
STEP = {"name": "step", "milestones": [5, 10]}


def dataset(file_id: str, **layout: Any) -> dict[str, Any]:  # noqa: ANN401 (a format's fields)
    return {"source": "file", "file": file_id, "format": {"name": "csv", **layout}}


@pytest.mark.parametrize("table", ["wine", "breast_cancer", "csv"])
@pytest.mark.parametrize("architecture", ["convnet", "cifar_resnet"])
def test_an_architecture_for_images_is_refused_on_a_table(
    api: Api, table: str, architecture: str
) -> None:
    data = dataset(api.upload()["id"]) if table == "csv" else {"source": "builtin", "name": table}
    found = refusals(
        api,
        dataset=data,
        student={"architecture": {"name": architecture}},
        teacher={"source": "train", "architecture": {"name": architecture}},
    )
    assert found == [
        ("/student/architecture/name", "needs_images"),
        ("/teacher/architecture/name", "needs_images"),
    ]


def test_augmentation_is_refused_on_a_table_and_taken_on_images(api: Api) -> None:
    training = {"augmentation": [{"name": "flip"}]}
    teacher = {"source": "train", "architecture": MLP, "training": training}
    assert refusals(api, dataset=WINE, training=training, teacher=teacher) == [
        ("/training/augmentation", "needs_images"),
        ("/teacher/training/augmentation", "needs_images"),
    ]
    assert warnings(api, training=training, teacher=teacher) == []


def test_a_file_that_the_project_does_not_have_is_refused_by_its_pointer(api: Api) -> None:
    other = api.key(project="other")
    file = {"file": ("a.csv", b"a,label\n1,x\n")}
    foreign = api.client.post("/v1/files", files=file, headers=other).json()["id"]
    for file_id in ("file-unknown", foreign):
        assert refusals(api, dataset=dataset(file_id)) == [("/dataset/file", "unknown_file")]


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/1.png", b"x")
    return file.getvalue()


def _tar(mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        archive.addfile(tarfile.TarInfo("a/1.png"))
    return file.getvalue()


ARCHIVES = [_zip(), _tar("w"), _tar("w:gz")]


@pytest.mark.parametrize("content", ARCHIVES, ids=["zip", "tar", "gzip"])
def test_an_archive_is_taken_for_images_and_refused_for_csv(api: Api, content: bytes) -> None:
    file_id = api.upload(content)["id"]
    images = {"source": "file", "file": file_id, "format": {"name": "image_archive"}}
    assert warnings(api, dataset=images) == []
    assert refusals(api, dataset=dataset(file_id)) == [("/dataset/file", "wrong_kind_of_file")]


def test_a_table_is_taken_for_csv_and_refused_for_images(api: Api) -> None:
    file_id = api.upload()["id"]
    assert warnings(api, dataset=dataset(file_id)) == []
    images = {"source": "file", "file": file_id, "format": {"name": "image_archive"}}
    assert refusals(api, dataset=images) == [("/dataset/file", "wrong_kind_of_file")]


@pytest.mark.parametrize("field", ["validation_file", "test_file"])
def test_each_file_of_a_dataset_is_checked_by_its_pointer(api: Api, field: str) -> None:
    data = dataset(api.upload()["id"])
    archive = api.upload(_zip())["id"]

    assert warnings(api, dataset={**data, field: api.upload()["id"]}) == []
    for given, code in (("file-unknown", "unknown_file"), (archive, "wrong_kind_of_file")):
        assert refusals(api, dataset={**data, field: given}) == [(f"/dataset/{field}", code)]
    assert refusals(api, dataset={**WINE, field: archive}) == [
        (f"/dataset/{field}", "extra_forbidden")
    ]


def test_a_file_that_is_to_be_two_parts_is_warned_of(api: Api) -> None:
    one, other = api.upload()["id"], api.upload()["id"]

    assert warnings(api, dataset={**dataset(one), "validation_file": other, "test_file": one}) == [
        "/dataset/test_file: the same file as `file`, so what is measured on it is too good."
    ]


def test_the_label_may_not_be_a_feature_nor_a_feature_come_twice(api: Api) -> None:
    table = dataset(api.upload()["id"], label="y", features=["a", "y", "a"])
    assert refusals(api, dataset=table) == [
        ("/dataset/format/features/1", "label_as_feature"),
        ("/dataset/format/features/2", "duplicate"),
    ]


def test_an_objective_of_no_weight_and_an_export_given_twice_are_refused_together(api: Api) -> None:
    found = refusals(
        api,
        objective=[{"loss": "labels", "weight": 0}],
        export=["onnx", "safetensors", "onnx"],
    )
    assert found == [("/objective", "no_weight"), ("/export/2", "duplicate")]


@pytest.mark.parametrize("milestones", [[10, 5], [5, 5]])
def test_milestones_that_do_not_rise_are_refused(api: Api, milestones: list[int]) -> None:
    training = {"schedule": {**STEP, "milestones": milestones}}
    teacher = {"source": "train", "architecture": MLP, "training": training}
    assert refusals(api, training=training, teacher=teacher) == [
        ("/training/schedule/milestones", "not_ascending"),
        ("/teacher/training/schedule/milestones", "not_ascending"),
    ]


def test_a_warmup_longer_than_the_training_is_refused_and_one_as_long_is_not(api: Api) -> None:
    def training(warmup: float) -> dict[str, Any]:
        return {"epochs": 5, "schedule": {"name": "cosine", "warmup_epochs": warmup}}

    assert refusals(api, training=training(5.5)) == [
        ("/training/schedule/warmup_epochs", "longer_than_training")
    ]
    assert warnings(api, training=training(5)) == []


def test_a_model_that_the_project_does_not_have_is_refused(api: Api) -> None:
    found = refusals(
        api,
        teacher={"source": "model", "model": "model-unknown"},
        student={"architecture": MLP, "initialize": {"from": "model", "model": "model-unknown"}},
    )
    assert found == [
        ("/teacher/model", "unknown_model"),
        ("/student/initialize/model", "unknown_model"),
    ]


def test_a_model_without_its_weights_is_refused(api: Api) -> None:
    model = model_of(api, MLP, "student/model.onnx")
    assert refusals(api, teacher={"source": "model", "model": model}) == [
        ("/teacher/model", "not_exported")
    ]


def test_a_registered_model_is_taken_and_shown_as_the_teacher(api: Api) -> None:
    model = model_of(api, MLP, "student/model.safetensors")
    assert api.post_job(teacher={"source": "model", "model": model})["teacher_model"] == model


def test_a_registered_model_for_images_is_refused_on_a_table(api: Api) -> None:
    model = model_of(api, {"name": "convnet"}, "student/model.safetensors")
    teacher = {"source": "model", "model": model}
    assert refusals(api, teacher=teacher, dataset=WINE) == [("/teacher/model", "needs_images")]


def test_a_student_starts_only_from_a_model_of_its_own_architecture(api: Api) -> None:
    model = model_of(api, {"name": "mlp", "hidden_sizes": [8]}, "student/model.safetensors")
    start = {"from": "model", "model": model}
    assert warnings(api, student={"architecture": MLP, "initialize": start}) == []
    wider = {"architecture": {"name": "mlp", "hidden_sizes": [9]}, "initialize": start}
    assert refusals(api, student=wider) == [("/student/initialize/model", "other_architecture")]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objective": [{"loss": "labels"}]}, "never looks at the teacher"),
        (
            {"objective": [{"loss": "soft_targets"}, {"loss": "labels", "weight": 0}]},
            "/objective/1: labels has weight 0",
        ),
        (
            {"training": {"epochs": 10, "schedule": STEP}},
            "/training/schedule/milestones: 10 is not before the end",
        ),
        (
            {"objective": [{"loss": "soft_targets", "weight_schedule": {"warmup_epochs": 31}}]},
            "/objective/0/weight_schedule/warmup_epochs: 31 is beyond the 30 epochs",
        ),
        ({"export": ["onnx"]}, "/export: without safetensors"),
    ],
)
def test_what_works_and_may_surprise_is_a_warning(
    api: Api, changes: dict[str, Any], words: str
) -> None:
    (warning,) = warnings(api, **changes)
    assert words in warning
    assert api.post_job(**changes)["warnings"] == [warning]


def test_a_plain_spec_has_no_warnings(api: Api) -> None:
    assert warnings(api) == []


def test_posting_a_resolved_spec_gives_the_same_resolved_spec(api: Api) -> None:
    sent = spec(
        name="digits",
        student={"architecture": {"name": "convnet"}, "initialize": {"from": "random"}},
        objective=[
            {"loss": "hints", "layers": [{"student": "stages.0", "teacher": "hidden.0"}]},
            {"loss": "soft_targets"},
        ],
        training={"schedule": {"name": "step", "milestones": [3]}, "optimizer": {"name": "sgd"}},
        metadata={"team": "vision"},
    )
    first = api.client.post(JOBS, json=sent).json()
    assert first["spec"] == sent
    again = api.client.post(JOBS, json=first["resolved_spec"]).json()
    assert again["resolved_spec"] == first["resolved_spec"] == again["spec"]
    assert first["resolved_spec"]["training"]["optimizer"]["momentum"] == 0.9
