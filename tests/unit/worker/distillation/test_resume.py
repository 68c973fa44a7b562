"""A training that was interrupted, however often, makes the model that it would have made."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from app.contracts.feature_losses import Contrastive, Factor, Hints
from app.contracts.job import JobSpec, Phase
from app.contracts.loss import LayerPair
from app.contracts.message import CheckpointWritten, StopReason, Warned, WentOn
from app.contracts.model import AnyArchitecture, CifarResnet, Convnet, Mlp
from app.contracts.objective import AnyLoss
from app.contracts.response_losses import Labels, SoftTargets
from app.contracts.training import Training
from tests.unit.worker.distillation.specs import Heard, spec_of
from tests.unit.worker.distillation.toys import (
    briefly,
    equal,
    toy_images,
    toy_model,
    weights_of,
)
from worker.distillation.build import load_model, write_config
from worker.distillation.checkpoint import Checkpoints
from worker.distillation.errors import NonFinite, Stopped
from worker.distillation.history import History
from worker.distillation.manifest import is_whole
from worker.distillation.reporting import Reporter
from worker.distillation.teaching import LiveTeaching
from worker.distillation.trainer import Plan, Trainer
from worker.distillation.training import train, train_mutually
from worker.distillation.training_state import read_state, save_state
from worker.distillation.workspace import Workspace

CPU = torch.device("cpu")
TEACHER = Convnet(channels=[6, 8])
POOLED = [LayerPair(student="pool", teacher="pool")]
MAPS = [LayerPair(student="stages.1", teacher="stages.1")]
AUGMENTED = [{"name": "flip"}, {"name": "shift_crop", "pixels": 1}]


class AlwaysDue(Checkpoints):
    """Has a checkpoint written at every step."""

    due = True


@dataclass(frozen=True)
class Case:
    """A student, how it trains, and on what."""

    architecture: AnyArchitecture
    training: Training
    objective: list[AnyLoss]


CASES = {
    "adamw and dropout": Case(
        Mlp(hidden_sizes=[6], dropout=0.5),
        briefly(optimizer={"name": "adamw", "lr": 0.03}, schedule={"name": "one_cycle"}),
        [Labels(), SoftTargets()],
    ),
    "batch norm, momentum and augmentation": Case(
        CifarResnet(variant="8"),
        briefly(optimizer={"name": "sgd", "lr": 0.05}, augmentation=AUGMENTED),
        [SoftTargets()],
    ),
    "a loss with a memory": Case(
        Convnet(channels=[4, 4], dropout=0.3),
        briefly(augmentation=AUGMENTED),
        [Labels(), Contrastive(layers=POOLED, negatives=4)],
    ),
    "losses that learn": Case(
        Convnet(channels=[4, 4]),
        briefly(),
        [Labels(), Hints(layers=MAPS), Factor(layers=MAPS)],
    ),
    "micro-batches in bfloat16": Case(
        Mlp(hidden_sizes=[6]), briefly(micro_batch_size=3, precision="bfloat16"), [SoftTargets()]
    ),
}


def stopping_at(step: int) -> Reporter:
    """Return a reporter that is asked to drain at a step boundary, counted from 0."""
    asked = itertools.count()

    def listen() -> StopReason | None:
        return StopReason.DRAIN if next(asked) == step else None

    return Reporter(lambda _: None, listen)


def run(
    case: Case, folder: Path, reporter: Reporter, keeping: type[Checkpoints] = Checkpoints
) -> tuple[dict[str, Tensor], History]:
    """Train a new model, going on from what the folder holds."""
    model = toy_model(case.architecture)
    data = toy_images()
    layers = tuple(pair.teacher for loss in case.objective for pair in loss.pairs())
    teaching = LiveTeaching(toy_model(TEACHER, seed=9), case.training.precision, layers)
    plan = Plan(
        "student",
        Phase.TRAINING_STUDENT,
        case.training,
        case.objective,
        CPU,
        describe=partial(
            write_config, architecture=case.architecture, description=data.description
        ),
    )
    spec = spec_of(training=case.training.model_dump(), objective=case.objective)
    checkpoints = keeping(spec, Workspace(folder), reporter)
    history = train(model, data, plan, reporter, teaching, checkpoints)
    return weights_of(model), history


@pytest.mark.parametrize("name", CASES)
def test_a_training_stopped_at_every_step_ends_as_one_that_was_not(
    tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    whole, history = run(case, tmp_path / "whole", Heard().reporter)
    folder = tmp_path / "pieces"
    folder.mkdir()

    num_steps = 3 * case.training.epochs
    for step in range(num_steps):
        with pytest.raises(Stopped):
            # One step further each time: of the attempt itself it is the second boundary.
            run(case, folder, stopping_at(min(step, 1)))
        assert read_state(folder / "checkpoints" / f"{step:010}-student").step == step
    pieces, of_pieces = run(case, folder, Heard().reporter)

    assert equal(pieces, whole)
    assert of_pieces == history


def test_a_training_killed_between_checkpoints_ends_as_one_that_was_not(tmp_path: Path) -> None:
    case = CASES["adamw and dropout"]
    whole, history = run(case, tmp_path / "whole", Heard().reporter)
    folder = tmp_path / "killed"
    folder.mkdir()
    with pytest.raises(Stopped):
        run(case, folder, stopping_at(4))

    def killed(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(case, folder, Reporter(killed))
    pieces, of_pieces = run(case, folder, Heard().reporter)

    assert equal(pieces, whole)
    assert of_pieces == history


def test_two_models_that_teach_each_other_go_on_together(tmp_path: Path) -> None:
    spec = spec_of()

    def run_pair(folder: Path, reporter: Reporter) -> tuple[dict[str, Tensor], History]:
        pair = toy_model(), toy_model(Convnet(channels=[4, 4]), seed=1)
        plans = tuple(
            Plan(role, Phase.TRAINING_STUDENT, briefly(), [Labels(), SoftTargets()], CPU)
            for role in ("student", "peer")
        )
        folder.mkdir(exist_ok=True)
        checkpoints = Checkpoints(spec, Workspace(folder), reporter)
        histories = train_mutually(pair, toy_images(), (plans[0], plans[1]), reporter, checkpoints)
        return {**weights_of(pair[0]), **weights_of(pair[1])}, histories[1]

    whole, history = run_pair(tmp_path / "whole", Heard().reporter)
    for step in (4, 2):
        with pytest.raises(Stopped):
            run_pair(tmp_path / "pieces", stopping_at(step))
    pieces, of_pieces = run_pair(tmp_path / "pieces", Heard().reporter)

    assert equal(pieces, whole)
    assert of_pieces == history


def test_checkpoints_change_nothing_and_the_two_newest_stay(tmp_path: Path) -> None:
    case = CASES["a loss with a memory"]
    whole, history = run(case, tmp_path / "without", Heard().reporter)
    (tmp_path / "with").mkdir()

    heard = Heard()
    kept, of_kept = run(case, tmp_path / "with", heard.reporter, AlwaysDue)

    assert equal(kept, whole)
    assert of_kept == history
    written = [m for m in heard.messages if isinstance(m, CheckpointWritten)]
    assert [message.step for message in written] == list(range(9))
    assert [message.epoch for message in written] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert written[-1].metrics["student/loss"] == history.epochs[1].loss
    left = sorted(path.name for path in (tmp_path / "with" / "checkpoints").iterdir())
    assert left == ["0000000007-student", "0000000008-student"]


def test_a_checkpoint_is_a_model_that_can_be_used(tmp_path: Path) -> None:
    case = CASES["batch norm, momentum and augmentation"]
    heard = Heard()
    run(case, tmp_path, heard.reporter, AlwaysDue)

    folder = tmp_path / "checkpoints" / "0000000008-student"
    model = load_model(folder)

    assert not model.training
    assert model(torch.zeros(2, 1, 5, 5)).shape == (2, 3)
    last = [m for m in heard.messages if isinstance(m, CheckpointWritten)][-1]
    assert last.folder == "checkpoints/0000000008-student"
    assert {file.path for file in last.files} == {
        f"{last.folder}/{name}"
        for name in (
            *("config.json", "manifest.json", "model.safetensors"),
            *("state.json", "training.safetensors"),
        )
    }


def test_two_runs_of_one_spec_come_to_the_same_weights_by_states_of_other_bytes(
    tmp_path: Path,
) -> None:
    """A worker removes the bytes of a state at once; another's must not be among them."""
    checkpoints = []
    for clone in ("one", "other"):
        (tmp_path / clone).mkdir()
        run(CASES["adamw and dropout"], tmp_path / clone, Heard().reporter, AlwaysDue)
        checkpoints.append(tmp_path / clone / "checkpoints" / "0000000008-student")
    alike = {
        name: checkpoints[0].joinpath(name).read_bytes()
        == checkpoints[1].joinpath(name).read_bytes()
        for name in ("model.safetensors", "training.safetensors")
    }
    assert alike == {"model.safetensors": True, "training.safetensors": False}


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "no manifest"])
def test_a_damaged_checkpoint_is_told_of_and_the_one_before_used(
    tmp_path: Path, damage: str
) -> None:
    case = CASES["adamw and dropout"]
    whole, _ = run(case, tmp_path / "whole", Heard().reporter)
    (tmp_path / "run").mkdir()
    run(case, tmp_path / "run", Heard().reporter, AlwaysDue)
    newest = tmp_path / "run" / "checkpoints" / "0000000008-student"
    _damage(newest, damage)

    heard = Heard()
    weights, _ = run(case, tmp_path / "run", heard.reporter)

    assert equal(weights, whole)
    assert [m.message for m in heard.messages if isinstance(m, Warned)] == [
        "the checkpoint 0000000008-student is damaged and not used"
    ]


def _damage(checkpoint: Path, damage: str) -> None:
    tensors = checkpoint / "training.safetensors"
    content = bytearray(tensors.read_bytes())
    if damage == "flipped":
        content[-3] ^= 1
        tensors.write_bytes(content)
    elif damage == "cut":
        tensors.write_bytes(content[:-1])
    elif damage == "gone":
        tensors.unlink()
    else:
        (checkpoint / "manifest.json").unlink()
    assert not is_whole(checkpoint)


def test_a_checkpoint_of_another_spec_is_not_gone_on_from(tmp_path: Path) -> None:
    case = CASES["adamw and dropout"]
    with pytest.raises(Stopped):
        run(case, tmp_path, stopping_at(3))
    other = replace(case, training=case.training.model_copy(update={"seed": 1}))
    whole, _ = run(other, tmp_path / "whole", Heard().reporter)

    heard = Heard()
    weights, _ = run(other, tmp_path, heard.reporter)

    assert equal(weights, whole)
    assert [m.message for m in heard.messages if isinstance(m, Warned)] == [
        "the checkpoint 0000000003-student is of another spec and not used"
    ]


def test_a_stale_checkpoint_does_not_stand_in_the_way_of_new_ones(tmp_path: Path) -> None:
    case = CASES["adamw and dropout"]
    with pytest.raises(Stopped):
        run(case, tmp_path, stopping_at(7))
    other = replace(case, training=case.training.model_copy(update={"seed": 1}))

    heard = Heard()
    run(other, tmp_path, heard.reporter, AlwaysDue)

    written = [m for m in heard.messages if isinstance(m, CheckpointWritten)]
    assert [message.step for message in written] == list(range(9))
    assert all(len(message.files) == 5 for message in written)


def test_a_training_that_goes_on_says_from_where(tmp_path: Path) -> None:
    case = CASES["adamw and dropout"]
    with pytest.raises(Stopped):
        run(case, tmp_path, stopping_at(4))

    heard = Heard()
    run(case, tmp_path, heard.reporter)

    assert [m for m in heard.messages if isinstance(m, WentOn)] == [
        WentOn(phase=Phase.TRAINING_STUDENT, role="student", step=4)
    ]


def test_a_wish_at_any_moment_is_obeyed_with_a_checkpoint(tmp_path: Path) -> None:
    case = CASES["adamw and dropout"]
    for asked_at in range(6):
        folder = tmp_path / str(asked_at)
        folder.mkdir()
        asked = itertools.count()

        def listen(asked: Iterator[int] = asked, at: int = asked_at) -> StopReason | None:
            return StopReason.PAUSE if next(asked) == at else None

        reporter = Reporter(lambda _: None, listen)
        with pytest.raises(Stopped):
            run(case, folder, reporter)

        assert reporter.stop_reason is StopReason.PAUSE
        assert [is_whole(path) for path in (folder / "checkpoints").iterdir()] == [True]


def test_going_on_without_determinism_is_said_to_be_inexact(tmp_path: Path) -> None:
    case = CASES["adamw and dropout"]
    free = replace(case, training=case.training.model_copy(update={"deterministic": False}))
    with pytest.raises(Stopped):
        run(free, tmp_path, stopping_at(3))

    heard = Heard()
    run(free, tmp_path, heard.reporter)

    (warning,) = [m.message for m in heard.messages if isinstance(m, Warned)]
    assert "training.deterministic" in warning


def test_a_state_that_is_no_longer_finite_is_never_kept(tmp_path: Path) -> None:
    case = CASES["adamw and dropout"]
    plan = Plan("student", Phase.TRAINING_STUDENT, case.training, [Labels()], CPU)
    trainer = Trainer(toy_model(case.architecture), toy_images(), plan, Heard().reporter, None)
    with torch.no_grad():
        next(trainer.state.model.parameters())[0, 0] = torch.inf

    with pytest.raises(NonFinite, match=r"hidden\.0.*of the student .* after step 0"):
        save_state(trainer, tmp_path, {})

    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_checkpoint_before_and_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES["adamw and dropout"]
    with pytest.raises(Stopped):
        run(case, tmp_path, stopping_at(3))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("worker.distillation.checkpoint.write_manifest", full)
        with pytest.raises(OSError, match="No space left"):
            run(case, tmp_path, stopping_at(2))
    whole = [path.name for path in (tmp_path / "checkpoints").iterdir() if is_whole(path)]

    assert whole == ["0000000003-student"]
    run(case, tmp_path, Heard().reporter)


def test_a_name_and_a_place_to_run_do_not_change_what_a_checkpoint_is_of(tmp_path: Path) -> None:
    def belonging(spec: JobSpec) -> dict[str, str]:
        return Checkpoints(spec, Workspace(tmp_path), Heard().reporter).belonging()

    one = belonging(spec_of(name="one", resources={"max_runtime_seconds": 9}))
    assert one == belonging(spec_of(name="two", metadata={"team": "vision"}))
    assert one != belonging(spec_of(baseline=False))
