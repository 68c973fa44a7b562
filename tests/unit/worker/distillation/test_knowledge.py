"""Recorded signals are the live teacher's, bit for bit, on the very views the student sees."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from app.contracts.feature_losses import Hints
from app.contracts.job import Phase
from app.contracts.knowledge import KnowledgeManifest, KnowledgeSettings
from app.contracts.loss import LayerPair
from app.contracts.message import ProgressMade, StopReason, WentOn
from app.contracts.model import AnyArchitecture, Convnet, Mlp
from app.contracts.objective import AnyLoss
from app.contracts.response_losses import SoftTargets
from app.contracts.training import Training
from tests.unit.worker.distillation.specs import Heard, spec_of
from tests.unit.worker.distillation.toys import (
    briefly,
    equal,
    images_of,
    toy_images,
    toy_model,
    weights_of,
)
from worker.distillation.build import load_model, save_model
from worker.distillation.checkpoint import Checkpoints
from worker.distillation.collection import Collection
from worker.distillation.dataset import Dataset
from worker.distillation.errors import BadInput, Stopped
from worker.distillation.held_out import by_part, held_out_ids, kept_answers
from worker.distillation.knowledge import (
    TeacherIdentity,
    collect,
    differences,
    is_reused,
    planned,
    take_over,
)
from worker.distillation.knowledge_store import StoredKnowledge
from worker.distillation.reporting import Reporter
from worker.distillation.signals import Signals
from worker.distillation.stages.collect_knowledge import START
from worker.distillation.teaching import LiveTeaching, RecordedTeaching, Teaching
from worker.distillation.trainer import Plan
from worker.distillation.training import train
from worker.distillation.workspace import Workspace

CPU = torch.device("cpu")
VIEWED = briefly(augmentation=[{"name": "flip"}, {"name": "shift_crop", "pixels": 1}], seed=4)
EXACTLY = KnowledgeSettings(storage="float32")
SOMEONE = TeacherIdentity("weights", "architecture", "preprocessing")
EVERY_PART = ("teacher", "architecture", "preprocessing", "dataset", "views", "storage")


def planned_for(
    teaching: LiveTeaching,
    data: Dataset,
    training: Training = VIEWED,
    settings: KnowledgeSettings = EXACTLY,
) -> KnowledgeManifest:
    shapes = teaching.shapes(torch.zeros(2, *data.description.shape))
    return planned(settings, training, [SoftTargets()], data, SOMEONE, shapes)


def gather(
    collection: Collection,
    teaching: LiveTeaching,
    folder: Path,
    reporter: Reporter | None = None,
    workspace: Path | None = None,
) -> None:
    """Collect, with checkpoints in a workspace of its own where none is given."""
    reporter = reporter or Heard().reporter
    root = workspace or folder.with_name(f"{folder.name}-workspace")
    root.mkdir(exist_ok=True)
    checkpoints = Checkpoints(spec_of(), Workspace(root), reporter)
    collect(collection, teaching, folder, reporter, checkpoints, START)


def collected(
    folder: Path,
    teaching: LiveTeaching,
    data: Dataset,
    training: Training = VIEWED,
    settings: KnowledgeSettings = EXACTLY,
) -> RecordedTeaching:
    folder.mkdir(exist_ok=True)
    manifest = planned_for(teaching, data, training, settings)
    gather(Collection(manifest, training, data, CPU), teaching, folder)
    return RecordedTeaching(folder, data, CPU)


@pytest.mark.parametrize("architecture", [Mlp(hidden_sizes=[40]), Convnet(channels=[8, 8])])
@pytest.mark.parametrize("micro_batch_size", [None, 3])
def test_learning_from_the_record_is_learning_from_the_teacher_bit_for_bit(
    tmp_path: Path, architecture: AnyArchitecture, micro_batch_size: int | None
) -> None:
    data = toy_images(num_train=37)
    training = VIEWED.model_copy(update={"micro_batch_size": micro_batch_size})
    save_model(toy_model(architecture, seed=9), tmp_path, architecture, images_of([1, 5, 5]))
    live = LiveTeaching(load_model(tmp_path), "float32")
    students = []
    sources: list[Teaching] = [live, collected(tmp_path / "record", live, data, training)]
    for teaching in sources:
        student = toy_model()
        plan = Plan("student", Phase.TRAINING_STUDENT, training, [SoftTargets()], CPU)
        train(student, data, plan, Heard().reporter, teaching)
        students.append(weights_of(student))

    assert equal(*students)


def test_recorded_features_are_the_teacher_s_bit_for_bit(tmp_path: Path) -> None:
    data, teacher = toy_images(), toy_model(Convnet(channels=[4, 8]), seed=9)
    live = LiveTeaching(teacher, "float32", ("stages.0", "pool"))
    objective: list[AnyLoss] = [
        Hints(layers=[LayerPair(student="hidden.0", teacher="pool")]),
        Hints(layers=[LayerPair(student="hidden.0", teacher="stages.0")]),
    ]
    students = []
    sources: list[Teaching] = [live, collected(tmp_path, live, data)]
    for teaching in sources:
        student = toy_model()
        plan = Plan("student", Phase.TRAINING_STUDENT, VIEWED, objective, CPU)
        train(student, data, plan, Heard().reporter, teaching)
        students.append(weights_of(student))

    assert equal(*students)


def test_each_view_is_of_its_epoch_and_each_row_of_its_example(tmp_path: Path) -> None:
    data, live = toy_images(), LiveTeaching(toy_model(seed=9), "float32")
    record = collected(tmp_path, live, data)
    ids = torch.tensor([20, 3, 11])

    views = [record.signals(torch.empty(0), ids, epoch).logits_BC for epoch in range(3)]
    again = record.signals(torch.empty(0), ids.flip(0), 1).logits_BC

    assert not torch.equal(views[0], views[1])
    assert not torch.equal(views[1], views[2])
    assert torch.equal(again, views[1].flip(0))


def test_a_single_view_serves_every_epoch(tmp_path: Path) -> None:
    data, live = toy_images(), LiveTeaching(toy_model(seed=9), "float32")
    record = collected(tmp_path, live, data, briefly())
    ids = torch.tensor([1, 2])

    first, last = (record.signals(torch.empty(0), ids, epoch).logits_BC for epoch in (0, 99))
    assert torch.equal(first, last)
    expected = live.signals(torch.tensor(data.inputs[[1, 2]]).float(), ids, 0).logits_BC
    torch.testing.assert_close(first, expected)


def test_half_precision_is_kept_to_its_own_rounding(tmp_path: Path) -> None:
    data, live = toy_images(), LiveTeaching(toy_model(seed=9), "float32")
    exact = collected(tmp_path / "exact", live, data)
    rounded = collected(tmp_path / "half", live, data, settings=KnowledgeSettings())
    ids = torch.arange(22)

    one, other = (each.signals(torch.empty(0), ids, 0).logits_BC for each in (exact, rounded))

    assert torch.equal(one.half().float(), other)


def test_held_out_examples_are_recorded_once_and_unchanged(tmp_path: Path) -> None:
    data, live = toy_images(), LiveTeaching(toy_model(seed=9), "float32")
    collected(tmp_path, live, data)
    stored = StoredKnowledge.open(tmp_path)

    ids = held_out_ids(data)
    rows = stored.manifest.views * stored.manifest.num_train + np.arange(len(ids))
    given = stored.signals(rows, CPU).logits_BC

    assert ids.tolist() == sorted([*data.ids["validation"], *data.ids["test"]])
    expected = live.signals(torch.tensor(data.inputs[ids]).float(), torch.tensor(ids), 0).logits_BC
    assert torch.equal(given, expected)


def test_a_collection_that_was_interrupted_goes_on_and_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.distillation.knowledge.DURABLE_EVERY_SECONDS", 0.0)
    data, live = toy_images(), LiveTeaching(toy_model(seed=9), "float32")
    whole = tmp_path / "whole"
    collected(whole, live, data)

    class Interrupted(LiveTeaching):
        calls = 0

        def signals(self, inputs: torch.Tensor, ids_B: torch.Tensor, epoch: int) -> Signals:
            self.calls += 1
            if self.calls == 5:
                raise Stopped
            return super().signals(inputs, ids_B, epoch)

    halves = tmp_path / "halves"
    halves.mkdir()
    first, second = (Interrupted(toy_model(seed=9), "float32") for _ in range(2))
    collection = Collection(planned_for(first, data), VIEWED, data, CPU)
    with pytest.raises(Stopped):
        gather(collection, first, halves)
    second.calls = 10
    gather(collection, second, halves)

    num_batches = first.calls - 1 + second.calls - 10
    assert num_batches == 3 * 3 + 1
    assert (whole / "knowledge.json").read_bytes() == (halves / "knowledge.json").read_bytes()


@pytest.mark.parametrize("batch_size", [8, 1000])
def test_the_progress_of_a_collection_ends_where_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    monkeypatch.setattr("worker.distillation.reporting.PROGRESS_EVERY_SECONDS", 0)
    data, live, heard = toy_images(num_train=27), LiveTeaching(toy_model(), "float32"), Heard()
    training = briefly(batch_size=batch_size, micro_batch_size=5)
    collection = Collection(planned_for(live, data, training), training, data, CPU)
    (tmp_path / "record").mkdir()

    gather(collection, live, tmp_path / "record", heard.reporter)

    made = [m.progress for m in heard.messages if isinstance(m, ProgressMade)]
    assert [each.step for each in made] == list(range(len(made)))
    assert {each.steps for each in made} == {len(made)}


def test_a_collection_goes_on_from_a_checkpoint_on_another_machine(tmp_path: Path) -> None:
    data, live = toy_images(), LiveTeaching(toy_model(seed=9), "float32")
    collected(tmp_path / "whole", live, data)
    collection = Collection(planned_for(live, data), VIEWED, data, CPU)
    asked = itertools.count()

    def listen() -> StopReason | None:
        return StopReason.PAUSE if next(asked) == 4 else None

    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    workspace = tmp_path / "workspace"
    with pytest.raises(Stopped):
        gather(collection, live, here, Reporter(lambda _: None, listen), workspace)
    assert (workspace / "checkpoints" / "0000000004-knowledge" / "manifest.json").is_file()

    heard = Heard()
    gather(collection, live, there, heard.reporter, workspace)

    first = next(m.progress for m in heard.messages if isinstance(m, ProgressMade))
    assert first.step == 4
    assert [m.step for m in heard.messages if isinstance(m, WentOn)] == [4]
    for path in (tmp_path / "whole").iterdir():
        assert (there / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "training", [VIEWED, VIEWED.model_copy(update={"precision": "bfloat16"})], ids=["full", "low"]
)
def test_answers_held_out_are_kept_where_they_are_exact(tmp_path: Path, training: Training) -> None:
    data, live = toy_images(), LiveTeaching(toy_model(seed=9), training.precision)
    (tmp_path / "held_out.safetensors").write_bytes(b"of another record")

    collected(tmp_path, live, data, training, KnowledgeSettings())
    kept = kept_answers(tmp_path)

    if training.precision == "bfloat16":
        assert kept is None
        return
    ids = held_out_ids(data)
    expected = live.signals(torch.tensor(data.inputs[ids]).float(), torch.tensor(ids), 0).logits_BC
    assert kept is not None
    assert torch.equal(kept, expected)
    for part, answers in by_part(kept, data).items():
        assert torch.equal(answers, expected[np.isin(ids, data.ids[part])])


def test_what_differs_is_named() -> None:
    data, live = toy_images(), LiveTeaching(toy_model(seed=9), "float32", ("hidden.0",))
    expected = planned_for(live, data)
    assert differences(expected, expected, EVERY_PART) == []

    answers_only = LiveTeaching(toy_model(seed=9), "float32")
    other = planned_for(answers_only, toy_images(num_train=21), briefly(), KnowledgeSettings())
    found = differences(other, expected, EVERY_PART)

    assert [each.partition(":")[0] for each in found] == [
        "dataset", "views", "storage", "views", "collected",
    ]  # fmt: skip
    assert "given plain, expected" in found[1]
    assert "no features of hidden.0" in found[-1]


def test_more_views_and_more_layers_than_needed_do_no_harm() -> None:
    data = toy_images()
    rich = LiveTeaching(toy_model(seed=9), "float32", ("hidden.0",))
    poor = LiveTeaching(toy_model(seed=9), "float32")
    longer = VIEWED.model_copy(update={"epochs": 5})

    given, needed = planned_for(rich, data, longer), planned_for(poor, data)

    assert differences(given, needed, EVERY_PART) == []
    assert differences(needed, given, EVERY_PART) != []


def test_knowledge_that_is_taken_over_says_so_and_is_checked(tmp_path: Path) -> None:
    data, live = toy_images(), LiveTeaching(toy_model(seed=9), "float32")
    source, target = tmp_path / "source", tmp_path / "target"
    collected(source, live, data)
    target.mkdir()

    take_over(source, target)

    assert is_reused(target)
    assert not is_reused(source)
    ids = torch.arange(22)
    one, other = (
        RecordedTeaching(folder, data, CPU).signals(torch.empty(0), ids, 2).logits_BC
        for folder in (source, target)
    )
    assert torch.equal(one, other)

    shard = next(source.glob("*.bin"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.unlink()
    shard.write_bytes(content)
    (tmp_path / "third").mkdir()
    with pytest.raises(BadInput, match=shard.name):
        take_over(source, tmp_path / "third")


def test_a_live_teacher_is_in_eval_mode_and_gives_no_gradients() -> None:
    """Whole, not its batch norm alone: dropout is off too, and no statistic moves."""
    teacher = toy_model(Convnet(dropout=0.5)).train()
    before = weights_of(teacher)
    teaching = LiveTeaching(teacher, "float32", ("stages.0",))
    images = torch.rand(4, 1, 5, 5) * 255
    shapes = teaching.shapes(images)
    one, same = (teaching.signals(images, torch.arange(4), 0) for _ in range(2))

    assert torch.equal(one.logits_BC, same.logits_BC)
    assert not one.logits_BC.requires_grad
    assert not one.features["stages.0"].requires_grad
    assert shapes == {"stages.0": tuple(one.features["stages.0"].shape[1:])}
    assert equal(weights_of(teacher), before)
