"""The stages that learn: what each leaves, from what it starts, and what it refuses."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

from app.contracts.job import JobSpec, Phase
from app.contracts.message import (
    AnyMessage,
    CheckpointWritten,
    Manifest,
    MetricsMeasured,
    ProgressMade,
    StopReason,
    Warned,
    WentOn,
)
from app.contracts.model import Mlp
from tests.unit.worker.distillation.specs import Heard
from tests.unit.worker.distillation.toys import (
    briefly,
    equal,
    images_of,
    toy_images,
    toy_model,
    weights_of,
)
from worker.distillation.build import load_model, save_model
from worker.distillation.dataset import InputDescription
from worker.distillation.errors import BadInput, NonFinite, Stopped
from worker.distillation.history import History
from worker.distillation.knowledge import is_reused, recorded_teacher_answers
from worker.distillation.knowledge_store import StoredKnowledge
from worker.distillation.reporting import Reporter
from worker.distillation.stages import (
    collect_knowledge,
    train_assistants,
    train_baseline,
    train_student,
    train_teacher,
)
from worker.distillation.teachers import identity
from worker.distillation.teaching import LiveTeaching
from worker.distillation.workspace import Workspace

CONVNET = {"name": "convnet", "channels": [4, 4]}
MLP = {"name": "mlp", "hidden_sizes": [6]}
MODEL = {"source": "model", "model": "model-1"}
BRIEFLY = briefly().model_dump()
ANSWERS: list[object] = [{"loss": "soft_targets"}]
FEATURES: list[object] = [
    *ANSWERS,
    {"loss": "hints", "layers": [{"student": "hidden.0", "teacher": "stages.0"}]},
]


def spec_of(**changes: object) -> JobSpec:
    fields: dict[str, object] = {
        "dataset": {"source": "builtin", "name": "digits"},
        "teacher": {"source": "train", "architecture": CONVNET, "training": BRIEFLY},
        "student": {"architecture": MLP},
        "training": BRIEFLY,
    }
    return JobSpec.model_validate(fields | changes)


def started_from(identifier: str) -> dict[str, object]:
    return {"architecture": MLP, "initialize": {"from": "model", "model": identifier}}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return a workspace whose data is prepared."""
    found = Workspace(tmp_path)
    with found.writing("prepared") as folder:
        toy_images().save(folder)
    return found


def registered(
    workspace: Workspace, description: InputDescription, architecture: Mlp | None = None
) -> None:
    folder = workspace.input("model-1")
    folder.mkdir(parents=True)
    architecture = architecture or Mlp(hidden_sizes=[6])
    save_model(toy_model(architecture, seed=8), folder, architecture, description)


def test_a_teacher_is_trained_on_labels(workspace: Workspace) -> None:
    train_teacher.run(spec_of(), workspace, Heard().reporter)

    folder = workspace.stage("teacher")
    history = History.load(folder)
    assert [set(record.losses) for record in history.epochs] == [{"labels"}] * 3
    assert history.epoch in (1, 2, 3)
    data = toy_images()
    images = data.inputs[data.ids["validation"]].astype(np.float32)
    assert load_model(folder)(_tensor(images)).shape == (9, 3)


def test_a_registered_teacher_is_taken_as_it_is(workspace: Workspace) -> None:
    registered(workspace, images_of([1, 5, 5]))
    train_teacher.run(spec_of(teacher=MODEL), workspace, Heard().reporter)

    folder = workspace.stage("teacher")
    for name in ("config.json", "model.safetensors"):
        assert (folder / name).read_bytes() == (workspace.input("model-1") / name).read_bytes()
    assert History.load(folder) == History()


@pytest.mark.parametrize(
    ("description", "what"),
    [
        (
            images_of([1, 6, 5]),
            r"input shape .* the model has \[1, 6, 5\], the data has \[1, 5, 5\]",
        ),
        (images_of([1, 5, 5], 4), r"output names .* has \['0', '1', '2', '3'\], the data has"),
        (images_of([1, 5, 5]).model_copy(update={"kind": "table"}), "kind of input .* has table"),
    ],
)
def test_a_registered_teacher_of_other_data_is_refused(
    workspace: Workspace, description: InputDescription, what: str
) -> None:
    registered(workspace, description)
    with pytest.raises(BadInput, match=what) as caught:
        train_teacher.run(spec_of(teacher=MODEL), workspace, Heard().reporter)

    assert caught.value.code == "model_does_not_fit"
    assert not workspace.is_finished("teacher")


def test_a_model_that_is_not_there_is_named(workspace: Workspace) -> None:
    with pytest.raises(BadInput, match="'model-1' is not among") as caught:
        train_teacher.run(spec_of(teacher=MODEL), workspace, Heard().reporter)

    assert caught.value.code == "model_not_found"


def test_the_teachers_answers_are_recorded_row_by_row(workspace: Workspace) -> None:
    heard = Heard()
    train_teacher.run(spec_of(), workspace, heard.reporter)
    collect_knowledge.run(spec_of(), workspace, heard.reporter)

    data = toy_images()
    stored = StoredKnowledge.open(workspace.stage("knowledge"))
    images = _tensor(data.inputs[data.ids["train"]].astype(np.float32))
    expected_NC = load_model(workspace.stage("teacher"))(images).detach()
    given_NC = stored.signals(np.arange(22), torch.device("cpu")).logits_BC
    torch.testing.assert_close(given_NC, expected_NC, rtol=1e-3, atol=1e-3)
    assert MetricsMeasured(step=0, values={"knowledge/bytes": 36 * 6.0}) in heard.messages


def test_knowledge_says_what_it_is_of(workspace: Workspace) -> None:
    augmented = briefly(augmentation=[{"name": "flip"}])
    train_teacher.run(spec_of(), workspace, Heard().reporter)
    collect_knowledge.run(spec_of(training=augmented), workspace, Heard().reporter)

    said = StoredKnowledge.open(workspace.stage("knowledge")).manifest
    assert (said.views, said.num_train, said.num_held_out, said.storage) == (3, 22, 14, "float16")
    assert len(said.fingerprint.teacher) == len(said.fingerprint.dataset) == 64
    assert said.fingerprint.views == '[{"name": "flip"}] with seed 0'
    assert '"channels":[4,4]' in said.fingerprint.architecture
    assert said.fingerprint.collected == "answers"


def test_nothing_is_collected_where_no_loss_looks_at_the_teacher(workspace: Workspace) -> None:
    spec = spec_of(objective=[{"loss": "labels"}])
    train_teacher.run(spec, workspace, Heard().reporter)
    collect_knowledge.run(spec, workspace, Heard().reporter)

    assert not workspace.is_finished("knowledge")
    train_student.run(spec, workspace, Heard().reporter)
    assert workspace.is_finished("student")


@pytest.mark.parametrize("objective", [ANSWERS, FEATURES])
def test_knowledge_too_large_is_not_kept_and_the_student_is_the_same(
    workspace: Workspace, objective: list[object]
) -> None:
    """Features are cached when they fit the budget, else taken live: the same bits either way."""

    def spec(max_bytes: int) -> JobSpec:
        return spec_of(
            training=briefly(augmentation=[{"name": "shift_crop", "pixels": 1}]),
            objective=objective,
            knowledge={"storage": "float32", "max_bytes": max_bytes},
        )

    heard = Heard()
    row_bytes = 12 if objective == ANSWERS else 12 + 4 * 2 * 2 * 4
    size = (3 * 22 + 14) * row_bytes
    train_teacher.run(spec(0), workspace, heard.reporter)
    collect_knowledge.run(spec(size - 1), workspace, heard.reporter)
    assert not workspace.is_finished("knowledge")
    said = [message.message for message in heard.messages if isinstance(message, Warned)]
    assert said[0].startswith(f"the teacher's signals would take {size:,} bytes, more than")
    train_student.run(spec(size - 1), workspace, heard.reporter)
    live = load_file(workspace.stage("student") / "model.safetensors")
    workspace.stage("student").rename(workspace.root / "live")

    collect_knowledge.run(spec(size), workspace, heard.reporter)
    assert workspace.is_finished("knowledge")
    train_student.run(spec(size), workspace, heard.reporter)

    recorded = load_file(workspace.stage("student") / "model.safetensors")
    assert all(np.array_equal(live[name], recorded[name]) for name in live)


def offered(workspace: Workspace, given: JobSpec, tmp_path: Path) -> None:
    """Collect knowledge in another run and put it where a run finds it."""
    other = Workspace(tmp_path / "other")
    for name in ("prepared", "inputs"):
        if (workspace.root / name).is_dir():
            shutil.copytree(workspace.root / name, other.root / name)
    train_teacher.run(given, other, Heard().reporter)
    collect_knowledge.run(given, other, Heard().reporter)
    workspace.root.joinpath("inputs").mkdir(exist_ok=True)
    shutil.copytree(other.stage("knowledge"), workspace.input("knowledge"))


def test_knowledge_of_the_same_teacher_and_data_is_taken_over_and_the_teacher_not_run(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(workspace, images_of([1, 5, 5]))
    spec = spec_of(teacher=MODEL)
    offered(workspace, spec, tmp_path)
    monkeypatch.setattr(LiveTeaching, "signals", None)

    train_teacher.run(spec, workspace, Heard().reporter)
    collect_knowledge.run(spec, workspace, Heard().reporter)
    train_student.run(spec, workspace, Heard().reporter)

    assert is_reused(workspace.stage("knowledge"))


def test_knowledge_of_another_setting_is_collected_anew_and_the_difference_named(
    workspace: Workspace, tmp_path: Path
) -> None:
    registered(workspace, images_of([1, 5, 5]))
    offered(workspace, spec_of(teacher=MODEL, knowledge={"storage": "float32"}), tmp_path)
    spec, heard = spec_of(teacher=MODEL), Heard()
    train_teacher.run(spec, workspace, heard.reporter)
    collect_knowledge.run(spec, workspace, heard.reporter)

    assert not is_reused(workspace.stage("knowledge"))
    said = [message.message for message in heard.messages if isinstance(message, Warned)]
    (warning,) = said
    assert warning.startswith("knowledge collected earlier is not used: it differs in storage:")
    assert warning.endswith("given float32, expected float16")


def test_damaged_knowledge_that_nobody_named_costs_no_more_than_the_teacher_s_time(
    workspace: Workspace, tmp_path: Path
) -> None:
    registered(workspace, images_of([1, 5, 5]))
    spec, heard = spec_of(teacher=MODEL), Heard()
    offered(workspace, spec, tmp_path)
    shard = next(workspace.input("knowledge").glob("*.bin"))
    shard.write_bytes(shard.read_bytes()[:-1])
    train_teacher.run(spec, workspace, heard.reporter)
    collect_knowledge.run(spec, workspace, heard.reporter)

    assert not is_reused(workspace.stage("knowledge"))
    (warning,) = [message.message for message in heard.messages if isinstance(message, Warned)]
    assert shard.name in warning


def test_knowledge_stands_in_for_a_teacher(workspace: Workspace, tmp_path: Path) -> None:
    with_teacher = spec_of()
    offered_in = Workspace(tmp_path / "first")
    shutil.copytree(workspace.root / "prepared", offered_in.root / "prepared")
    for stage in (train_teacher, collect_knowledge, train_student):
        stage.run(with_teacher, offered_in, Heard().reporter)
    workspace.root.joinpath("inputs").mkdir(exist_ok=True)
    shutil.copytree(offered_in.stage("knowledge"), workspace.input("knowledge-1"))

    spec = spec_of(teacher={"source": "knowledge", "knowledge": "knowledge-1"})
    for stage in (train_teacher, collect_knowledge, train_student):
        stage.run(spec, workspace, Heard().reporter)

    assert not workspace.is_finished("teacher")
    one, other = (weights_of(load_model(each.stage("student"))) for each in (offered_in, workspace))
    assert equal(one, other)


def test_knowledge_that_does_not_match_is_refused_naming_the_part(
    workspace: Workspace, tmp_path: Path
) -> None:
    offered(workspace, spec_of(), tmp_path)
    workspace.input("knowledge").rename(workspace.input("knowledge-1"))
    teacher: dict[str, object] = {"source": "knowledge", "knowledge": "knowledge-1"}
    spec = spec_of(teacher=teacher, training=briefly(augmentation=[{"name": "flip"}]))
    with pytest.raises(BadInput, match=r"does not fit this job in views: given plain, ") as caught:
        collect_knowledge.run(spec, workspace, Heard().reporter)

    assert caught.value.code == "knowledge_does_not_match"


def test_few_classes_at_a_high_temperature_are_warned_of(workspace: Workspace) -> None:
    heard = Heard()

    def spec(temperature: float, top_k: int) -> JobSpec:
        return spec_of(
            objective=[{"loss": "soft_targets", "temperature": temperature}],
            knowledge={"storage": "top_k", "top_k": top_k},
        )

    train_teacher.run(spec(4, 2), workspace, heard.reporter)
    for each in (spec(1, 2), spec(4, 3), spec(4, 2)):
        collect_knowledge.run(each, workspace, heard.reporter)
        shutil.rmtree(workspace.stage("knowledge"))

    (said,) = [message.message for message in heard.messages if isinstance(message, Warned)]
    assert said.startswith("of 3 classes the 2 most probable are kept")
    assert "at the temperature of 'soft_targets'" in said


def test_few_classes_that_were_brought_are_not_to_be_kept_otherwise(
    workspace: Workspace, tmp_path: Path
) -> None:
    offered(workspace, spec_of(knowledge={"storage": "top_k", "top_k": 2}), tmp_path)
    workspace.input("knowledge").rename(workspace.input("knowledge-1"))
    heard = Heard()

    spec = spec_of(teacher={"source": "knowledge", "knowledge": "knowledge-1"})
    collect_knowledge.run(spec, workspace, heard.reporter)

    (said,) = heard.reporter.warnings
    assert "use temperature 1, or knowledge that is kept in float16" in said


def test_few_classes_for_an_assistant_are_warned_of(workspace: Workspace) -> None:
    softened: dict[str, object] = {"loss": "reverse_kl", "temperature": 2}
    assistant = {"architecture": MLP, "training": BRIEFLY, "objective": [softened]}
    spec = spec_of(
        assistants=[assistant],
        generations=3,
        objective=[{"loss": "soft_targets", "temperature": 1}],
        knowledge={"storage": "top_k", "top_k": 2},
    )
    heard = Heard()
    for stage in (train_teacher, train_assistants):
        stage.run(spec, workspace, heard.reporter)

    (said,) = heard.reporter.warnings
    assert "at the temperature of 'reverse_kl'" in said


def test_knowledge_of_the_most_probable_classes_does_not_teach_a_loss_of_each(
    workspace: Workspace, tmp_path: Path
) -> None:
    offered(workspace, spec_of(knowledge={"storage": "top_k", "top_k": 2}), tmp_path)
    workspace.input("knowledge").rename(workspace.input("knowledge-1"))
    teacher: dict[str, object] = {"source": "knowledge", "knowledge": "knowledge-1"}
    spec = spec_of(teacher=teacher, objective=[{"loss": "logit_mse"}])
    with pytest.raises(BadInput, match=r"'logit_mse' looks at each class.*, rounded") as caught:
        collect_knowledge.run(spec, workspace, Heard().reporter)

    assert caught.value.code == "storage_does_not_fit_loss"
    collect_knowledge.run(spec_of(teacher=teacher), workspace, Heard().reporter)
    assert is_reused(workspace.stage("knowledge"))


def test_signals_of_any_other_model_stand_in_for_a_teacher(workspace: Workspace) -> None:
    data = toy_images()
    ids = np.concatenate([data.ids["train"], data.ids["validation"], data.ids["test"]])
    probabilities = np.full((len(ids), 3), 0.05)
    probabilities[np.arange(len(ids)), data.labels[ids]] = 0.9
    columns = {name: probabilities[:, place] for place, name in enumerate("012")}
    workspace.root.joinpath("inputs").mkdir(exist_ok=True)
    pq.write_table(pa.table({"example_id": ids, **columns}), workspace.input("file-1"))
    teacher = {"source": "signals", "file": "file-1", "values": "probabilities"}
    spec = spec_of(teacher=teacher, objective=[{"loss": "soft_targets", "temperature": 1}])
    for stage in (train_teacher, collect_knowledge, train_student):
        stage.run(spec, workspace, Heard().reporter)

    answers = recorded_teacher_answers(workspace)
    assert answers is not None
    expected = torch.from_numpy(probabilities[np.searchsorted(ids, data.ids["test"])]).float()
    torch.testing.assert_close(answers["test"].softmax(dim=1), expected, rtol=1e-3, atol=1e-3)
    history = History.load(workspace.stage("student"))
    assert history.epochs[-1].loss < history.epochs[0].loss


def test_several_teachers_are_kept_side_by_side(workspace: Workspace) -> None:
    registered(workspace, images_of([1, 5, 5]))
    trained = {"source": "train", "architecture": CONVNET, "training": BRIEFLY}
    members = [{"teacher": trained, "weight": 2}, {"teacher": MODEL}]
    spec = spec_of(teacher={"source": "ensemble", "members": members, "mean": "probabilities"})
    for stage in (train_teacher, collect_knowledge, train_student):
        stage.run(spec, workspace, Heard().reporter)

    folder = workspace.stage("teacher")
    one, other = (load_model(folder / f"member-{number}") for number in (0, 1))
    data = toy_images()
    images = _tensor(data.inputs[data.ids["test"]].astype(np.float32))
    mean = (2 * one(images).softmax(dim=1) + other(images).softmax(dim=1)) / 3
    answers = recorded_teacher_answers(workspace)
    assert answers is not None
    torch.testing.assert_close(answers["test"].softmax(dim=1), mean, rtol=1e-3, atol=1e-3)


def test_assistants_and_generations_form_a_chain(workspace: Workspace) -> None:
    assistant = {"architecture": {"name": "mlp", "hidden_sizes": [8]}, "training": BRIEFLY}
    spec, heard = spec_of(assistants=[assistant], generations=2), Heard()
    for stage in (train_teacher, train_assistants, collect_knowledge, train_student):
        stage.run(spec, workspace, heard.reporter)

    chain = workspace.stage("assistants")
    assert sorted(path.name for path in chain.iterdir()) == ["0", "1"]
    assert load_model(chain / "0").network.get_parameter("classifier.weight").shape == (3, 8)
    assert load_model(chain / "1").network.get_parameter("classifier.weight").shape == (3, 6)
    manifest = StoredKnowledge.open(workspace.stage("knowledge")).manifest
    assert manifest.fingerprint.teacher == identity(chain / "1")[0]
    assert not equal(
        weights_of(load_model(chain / "1")), weights_of(load_model(workspace.stage("student")))
    )
    series = {
        name.partition("/")[0]
        for message in heard.messages
        if isinstance(message, MetricsMeasured)
        for name in message.values
    }
    assert series == {"teacher", "assistant_1", "generation_1", "knowledge", "student"}


def test_an_assistant_s_knowledge_is_collected_in_its_own_phase(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its training's first checkpoint would seem a step back."""
    monkeypatch.setattr("worker.distillation.reporting.PROGRESS_EVERY_SECONDS", 0)
    spec = spec_of(assistants=[{"architecture": MLP, "training": BRIEFLY}])
    train_teacher.run(spec, workspace, Heard().reporter)
    messages: list[AnyMessage] = []
    asked = itertools.count()

    def listen() -> StopReason | None:
        return StopReason.PAUSE if next(asked) == 2 else None

    with pytest.raises(Stopped):
        train_assistants.run(spec, workspace, Reporter(messages.append, listen))
    train_assistants.run(spec, workspace, Reporter(messages.append))

    kinds = (CheckpointWritten, WentOn)
    assert [(type(m), m.role) for m in messages if isinstance(m, kinds)] == [
        (kind, "assistant_1_knowledge") for kind in kinds
    ]
    assert {m.phase for m in messages if isinstance(m, kinds)} == {Phase.TRAINING_ASSISTANTS}
    assert {m.progress.phase for m in messages if isinstance(m, ProgressMade)} == {
        Phase.TRAINING_ASSISTANTS
    }


def test_without_assistants_there_is_no_chain(workspace: Workspace) -> None:
    train_assistants.run(spec_of(), workspace, Heard().reporter)

    assert not workspace.is_finished("assistants")


def test_a_peer_is_trained_beside_the_student(workspace: Workspace) -> None:
    spec = spec_of(
        teacher={"source": "mutual", "architecture": CONVNET},
        objective=[{"loss": "labels"}, {"loss": "soft_targets", "temperature": 1}],
    )
    for stage in (train_teacher, collect_knowledge, train_student):
        stage.run(spec, workspace, Heard().reporter)

    assert not workspace.is_finished("teacher")
    assert not workspace.is_finished("knowledge")
    peer = load_model(workspace.stage("student") / "peer")
    assert peer.network.get_parameter("classifier.weight").shape == (3, 4)
    assert set(History.load(workspace.stage("student") / "peer").epochs[0].losses) == {
        "labels",
        "soft_targets",
    }


def test_a_training_that_goes_astray_leaves_its_last_good_model(workspace: Workspace) -> None:
    wild = briefly(
        epochs=50,
        optimizer={"name": "sgd", "lr": 100.0, "weight_decay": 1.0},
        schedule={"name": "constant", "warmup_epochs": 50},
    )
    teacher = {"source": "train", "architecture": MLP, "training": wild}
    with pytest.raises(NonFinite, match=r"the teacher's \w+ .*is (nan|inf) "):
        train_teacher.run(spec_of(teacher=teacher), workspace, Heard().reporter)

    folder = workspace.stage("last_good")
    assert all(value.isfinite().all() for value in load_model(folder).state_dict().values())
    history = History.load(folder)
    assert history.epoch is not None
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_text())
    assert [file.path for file in manifest.files] == [
        "config.json", "history.json", "model.safetensors",
    ]  # fmt: skip
    assert not workspace.is_finished("teacher")


def test_baseline_and_student_are_one_when_both_learn_from_labels(workspace: Workspace) -> None:
    spec = spec_of(objective=[{"loss": "labels"}])
    train_baseline.run(spec, workspace, Heard().reporter)
    train_student.run(spec, workspace, Heard().reporter)

    baseline, student = (workspace.stage(name) for name in ("baseline", "student"))
    for name in ("config.json", "model.safetensors", "history.json"):
        assert (baseline / name).read_bytes() == (student / name).read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": [{"loss": "labels"}]},
        {
            "teacher": {"source": "mutual", "architecture": MLP},
            "objective": [{"loss": "labels"}, {"loss": "soft_targets"}],
        },
    ],
    ids=["alone", "with a peer"],
)
def test_validation_examples_of_an_omitted_class_choose_no_epoch(
    workspace: Workspace, tmp_path: Path, changes: dict[str, object]
) -> None:
    data, other = toy_images(), Workspace(tmp_path / "other")
    validation = data.ids["validation"]
    inputs = data.inputs.copy()
    inputs[validation[data.labels[validation] == 1]] = 255
    with other.writing("prepared") as folder:
        replace(data, inputs=inputs).save(folder)
    spec = spec_of(transfer={"omit_classes": ["1"]}, **changes)
    for each in (workspace, other):
        train_baseline.run(spec, each, Heard().reporter)
        train_student.run(spec, each, Heard().reporter)

    for role in ("baseline", "student"):
        one, two = (History.load(each.stage(role)) for each in (workspace, other))
        assert one.epochs[0].validation
        assert one == two


def test_a_teacher_makes_a_difference(workspace: Workspace) -> None:
    spec = spec_of()
    for stage in (train_teacher, collect_knowledge, train_baseline, train_student):
        stage.run(spec, workspace, Heard().reporter)

    baseline, student = (
        weights_of(load_model(workspace.stage(name))) for name in ("baseline", "student")
    )
    assert not equal(baseline, student)


def test_no_baseline_is_trained_unless_asked_for(workspace: Workspace) -> None:
    train_baseline.run(spec_of(baseline=False), workspace, Heard().reporter)

    assert not workspace.is_finished("baseline")


def test_a_student_may_start_from_a_registered_model(workspace: Workspace) -> None:
    start = images_of([1, 5, 5]).model_copy(update={"mean": [90.0], "std": [40.0]})
    registered(workspace, start)
    still = briefly(
        epochs=1,
        optimizer={"name": "sgd", "lr": 1e-30, "weight_decay": 0},
        schedule={"name": "constant"},
    )
    spec = spec_of(student=started_from("model-1"), objective=[{"loss": "labels"}], training=still)
    train_student.run(spec, workspace, Heard().reporter)

    ours = weights_of(load_model(workspace.stage("student")))
    theirs = weights_of(load_model(workspace.input("model-1")))
    assert equal(ours, theirs)
    saved = json.loads((workspace.stage("student") / "config.json").read_text())
    assert saved["description"]["mean"] == [90.0]


def test_a_start_of_another_architecture_is_refused(workspace: Workspace) -> None:
    registered(workspace, images_of([1, 5, 5]), Mlp(hidden_sizes=[7]))
    with pytest.raises(BadInput, match=r'"hidden_sizes":\[6\].*"hidden_sizes":\[7\]') as caught:
        train_student.run(spec_of(student=started_from("model-1")), workspace, Heard().reporter)

    assert caught.value.code == "architecture_differs"


def test_a_layer_that_is_not_there_fails_the_job(workspace: Workspace) -> None:
    hints = {"loss": "hints", "layers": [{"student": "hiden.0", "teacher": "stages.1"}]}
    spec = spec_of(objective=[hints])
    train_teacher.run(spec, workspace, Heard().reporter)
    with pytest.raises(BadInput, match=r"has no layer 'hiden.0'") as caught:
        train_student.run(spec, workspace, Heard().reporter)

    assert "hidden.0" in (caught.value.hint or "")
    assert not workspace.is_finished("student")


def _tensor(images: npt.NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(images)
