"""The loop: reproducible, honest about epochs, and it stops when it must."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from app.contracts.feature_losses import Hints, Similarity
from app.contracts.job import Phase
from app.contracts.loss import LayerPair, WeightSchedule
from app.contracts.message import MetricsMeasured, StopReason
from app.contracts.model import CifarResnet, Convnet, Mlp
from app.contracts.objective import AnyLoss
from app.contracts.response_losses import Labels, LogitMse, SoftTargets
from app.contracts.training import Training
from tests.unit.worker.distillation.specs import Heard
from tests.unit.worker.distillation.toys import (
    SMALL,
    briefly,
    equal,
    toy_images,
    toy_model,
    toy_table,
    weights_of,
)
from worker.distillation.build import build
from worker.distillation.errors import BadInput, NonFinite, Stopped
from worker.distillation.history import EpochRecord, History
from worker.distillation.predictor import Predictor
from worker.distillation.signals import Signals
from worker.distillation.teaching import LiveTeaching
from worker.distillation.trainer import Plan
from worker.distillation.training import train, train_mutually
from worker.distillation.views import epoch_order

CPU = torch.device("cpu")
CONVNET = Convnet(channels=[4, 4], dropout=0.3)
QUICK = {"name": "adamw", "lr": 0.03}


def plan_of(role: str, training: Training, objective: list[AnyLoss]) -> Plan:
    return Plan(role, Phase.TRAINING_STUDENT, training, objective, CPU)


def trained(
    model: Predictor, training: Training, *objective: AnyLoss, teacher: Predictor | None = None
) -> History:
    plan = plan_of("student", training, [*objective] or [Labels()])
    teaching = LiveTeaching(teacher, training.precision) if teacher else None
    return train(model, toy_images(), plan, Heard().reporter, teaching)


def test_one_step_by_hand() -> None:
    model, reference = toy_model(), toy_model()
    once = briefly(
        epochs=1,
        batch_size=100,
        optimizer={"name": "sgd", "lr": 0.1, "momentum": 0, "weight_decay": 0},
        schedule={"name": "constant"},
    )

    history = trained(model, once, Labels(weight=0.5))

    data = toy_images()
    order = epoch_order(data.ids["train"], seed=0, epoch=0)
    inputs, labels = torch.tensor(data.inputs[order]).float(), torch.tensor(data.labels[order])
    loss = F.cross_entropy(reference(inputs), labels)
    (0.5 * loss).backward()
    for (_, ours), (_, start) in zip(
        model.named_parameters(), reference.named_parameters(), strict=True
    ):
        assert start.grad is not None
        torch.testing.assert_close(ours, start - 0.1 * start.grad)
    assert history.epochs[0].loss == pytest.approx(0.5 * loss.item())
    assert history.epochs[0].losses == {"labels": pytest.approx(loss.item())}


@pytest.mark.parametrize("architecture", [Mlp(hidden_sizes=[8], dropout=0.5), CONVNET])
def test_the_same_spec_gives_the_same_bits_whatever_ran_before(
    architecture: Mlp | Convnet,
) -> None:
    training = briefly(augmentation=[{"name": "flip"}, {"name": "shift_crop", "pixels": 1}])
    runs = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        model = toy_model(architecture)
        trained(toy_model(seed=noise), briefly(seed=noise))
        trained(model, training)
        runs.append(weights_of(model))

    assert equal(*runs)


@pytest.mark.parametrize("changes", [{"seed": 1}, {"augmentation": [{"name": "flip"}]}])
def test_another_seed_or_augmentation_gives_another_model(changes: dict[str, object]) -> None:
    one, other = toy_model(), toy_model()
    trained(one, briefly())
    trained(other, briefly(**changes))

    assert not equal(weights_of(one), weights_of(other))


def test_dropout_differs_from_step_to_step_and_from_seed_to_seed() -> None:
    model = toy_model(Mlp(hidden_sizes=[64], dropout=0.5))
    masks: list[Tensor] = []
    model.network.get_submodule("hidden.0").register_forward_hook(
        lambda module, _, output: (
            masks.append((output == 0).all(dim=0)) if module.training else None
        )
    )
    for seed in (0, 1):
        trained(model, briefly(epochs=1, batch_size=11, seed=seed))

    assert len({tuple(mask.tolist()) for mask in masks}) == len(masks) == 4


def test_a_student_learns_from_the_teacher_alone() -> None:
    teacher, student = toy_model(CONVNET, seed=5), toy_model(seed=1)
    history = trained(student, briefly(epochs=20, optimizer=QUICK), SoftTargets(), teacher=teacher)

    assert history.epochs[-1].loss < history.epochs[0].loss / 3


def test_neither_student_nor_validation_moves_the_teacher() -> None:
    teacher = toy_model(CONVNET, seed=5).train()
    before = weights_of(teacher)
    trained(toy_model(), briefly(), SoftTargets(), teacher=teacher)

    assert not teacher.training
    assert equal(weights_of(teacher), before)
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_batch_norm_learns_in_every_epoch_and_never_from_validation() -> None:
    def statistics(epochs: int) -> int:
        model = toy_model(Convnet(channels=[4]))
        trained(model, briefly(epochs=epochs))
        return int(model.get_buffer("network.stages.0.norm.num_batches_tracked"))

    data = toy_images(num_validation=0)
    model = toy_model(Convnet(channels=[4]))
    train(model, data, plan_of("student", briefly(), [Labels()]), Heard().reporter)
    assert model.get_buffer("network.stages.0.norm.num_batches_tracked") == 9
    assert statistics(epochs=1) == 3


def test_hints_train_the_student_through_a_regressor_that_stays_behind() -> None:
    teacher, student = toy_model(CONVNET, seed=5), toy_model(CONVNET, seed=1)
    pairs = Hints(layers=[LayerPair(student="stages.0", teacher="stages.0")])
    names = set(student.state_dict())
    teaching = LiveTeaching(teacher, "float32", ("stages.0",))
    plan = plan_of("student", briefly(epochs=15, optimizer=QUICK), [pairs])

    history = train(student, toy_images(), plan, Heard().reporter, teaching)

    assert history.epochs[-1].loss < history.epochs[0].loss / 2
    assert set(student.state_dict()) == names


def test_the_kept_weights_are_those_of_the_best_epoch() -> None:
    model = toy_model(seed=3)
    heard = Heard()
    data = toy_images()
    plan = plan_of("student", briefly(epochs=12, schedule={"name": "constant"}), [Labels()])
    history = train(model, data, plan, heard.reporter)

    ids = data.ids["validation"]
    logits = model(torch.tensor(data.inputs[ids]).float())
    kept = history.kept
    assert kept is not None
    assert kept.validation["log_loss"] == pytest.approx(
        F.cross_entropy(logits, torch.tensor(data.labels[ids])).item(), rel=1e-5
    )
    assert kept.quality == max(record.quality for record in history.epochs)
    assert not model.training


def test_an_earlier_epoch_is_kept_where_later_ones_are_worse() -> None:
    records = [
        EpochRecord(
            epoch=number, lr=1, loss=1, losses={},
            validation={"accuracy": accuracy, "log_loss": log_loss},
        )
        for number, (accuracy, log_loss) in enumerate([(0.5, 1), (0.9, 2), (0.9, 1), (0.9, 1)], 1)
    ]  # fmt: skip

    assert records[1].is_better_than(records[0])
    assert records[2].is_better_than(records[1])
    assert not records[3].is_better_than(records[2])
    assert not records[0].is_better_than(records[1])


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (
            {"accuracy": 0.99, "log_loss": 0.1, "macro_f1": 0.0},
            {"accuracy": 0.9, "log_loss": 0.2, "macro_f1": 0.1},
        ),
        ({"rmse": 0.5, "r2": 0.3}, {"rmse": 0.6, "r2": 0.4}),
        ({"rmse": 0.5, "r2": 0.3}, {"rmse": 0.4, "r2": 0.3}),
    ],
)
def test_epochs_are_told_apart_by_what_models_are_compared_by(
    earlier: dict[str, float], later: dict[str, float]
) -> None:
    one, other = (
        EpochRecord(epoch=1, lr=1, loss=1, losses={}, validation=validation)
        for validation in (earlier, later)
    )

    assert other.is_better_than(one)
    assert not one.is_better_than(other)


def test_an_epoch_of_an_earlier_version_gives_way_to_one_that_is_measured_more() -> None:
    before, now = (
        EpochRecord(epoch=1, lr=1, loss=1, losses={}, validation=validation)
        for validation in (
            {"accuracy": 0.99, "log_loss": 0.1},
            {"accuracy": 0.9, "log_loss": 0.2, "macro_f1": 0.1},
        )
    )

    assert now.is_better_than(before)


def test_of_rare_labels_the_epoch_that_finds_them_is_kept() -> None:
    """Accuracy is best where nearly every answer is no."""
    data = toy_table("multi_label", num_train=60, num_validation=60)
    likely = 0.35 * (data.inputs[:, :2] > 2)  # so that a yes is mostly wrong
    rare = np.random.default_rng(0).random(likely.shape) < likely
    data = replace(data, labels=rare.astype(np.float32))
    model = build(SMALL, data.description, seed=0)
    plan = plan_of("student", briefly(epochs=30, optimizer=QUICK), [Labels()])
    history = train(model, data, plan, Heard().reporter)

    kept, by_accuracy = history.kept, max(r.validation["accuracy"] for r in history.epochs)
    assert kept is not None
    assert kept.validation["accuracy"] < by_accuracy
    assert kept.validation["macro_f1"] == max(r.validation["macro_f1"] for r in history.epochs)


def test_without_validation_the_last_epoch_is_kept() -> None:
    model = toy_model()
    data = toy_images(num_validation=0)
    history = train(model, data, plan_of("teacher", briefly(), [Labels()]), Heard().reporter)

    assert history.epoch == 3
    assert history.epochs[-1].validation == {}


def test_series_carry_the_role_and_each_loss() -> None:
    heard = Heard()
    plan = plan_of("student", briefly(), [SoftTargets(weight=0.9), Labels(weight=0.1)])
    train(
        toy_model(), toy_images(), plan, heard.reporter, LiveTeaching(toy_model(seed=2), "float32")
    )
    metrics = [message for message in heard.messages if isinstance(message, MetricsMeasured)]

    assert [message.step for message in metrics] == [3, 6, 9]
    values = metrics[-1].values
    assert set(values) == {
        "student/lr",
        "student/loss",
        "student/loss/soft_targets",
        "student/loss/labels",
        "student/validation_accuracy",
        "student/validation_log_loss",
    }
    assert values["student/loss"] == pytest.approx(
        0.9 * values["student/loss/soft_targets"] + 0.1 * values["student/loss/labels"]
    )


def test_bfloat16_trains_float32_weights() -> None:
    model = toy_model(CONVNET)
    history = trained(model, briefly(precision="bfloat16", epochs=8))

    assert {value.dtype for value in model.parameters()} == {torch.float32}
    assert history.epochs[-1].loss < history.epochs[0].loss


def test_a_request_to_stop_is_obeyed_at_the_next_step() -> None:
    heard = Heard()
    heard.reporter.stop_reason = StopReason.CANCEL
    model = toy_model()
    before = weights_of(model)
    with pytest.raises(Stopped):
        train(model, toy_images(), plan_of("student", briefly(), [Labels()]), heard.reporter)

    assert equal(weights_of(model), before)
    assert not torch.are_deterministic_algorithms_enabled()


class BrokenFrom:
    """A live teacher whose answers are NaN from an epoch on."""

    def __init__(self, epoch: int) -> None:
        self.live = LiveTeaching(toy_model(), "float32")
        self.epoch = epoch

    def shapes(self, inputs: Tensor) -> dict[str, tuple[int, ...]]:
        return {}

    def signals(self, inputs: Tensor, ids_B: Tensor, epoch: int) -> Signals:
        signals = self.live.signals(inputs, ids_B, epoch)
        return Signals(signals.logits_BC * (math.nan if epoch >= self.epoch else 1))


def test_a_loss_that_is_no_number_names_itself_its_step_and_its_batch() -> None:
    plan = plan_of("student", briefly(), [Labels(), SoftTargets()])
    with pytest.raises(NonFinite) as caught:
        train(toy_model(), toy_images(), plan, Heard().reporter, BrokenFrom(epoch=1))

    data = toy_images()
    batch = epoch_order(data.ids["train"], seed=0, epoch=1)[:8].tolist()
    assert caught.value.code == "non_finite_loss"
    assert "'soft_targets' is nan at step 4 (epoch 2)" in str(caught.value)
    assert f"in the batch of examples {', '.join(map(str, batch))}" in str(caught.value)
    assert "lr" in (caught.value.hint or "")


def test_a_training_that_breaks_leaves_the_best_epoch_before() -> None:
    model, once = toy_model(), toy_model()
    plan = plan_of("student", briefly(schedule={"name": "constant"}), [SoftTargets()])
    with pytest.raises(NonFinite) as caught:
        train(model, toy_images(), plan, Heard().reporter, BrokenFrom(epoch=1))
    alone = plan_of("student", briefly(epochs=1, schedule={"name": "constant"}), [SoftTargets()])
    train(once, toy_images(), alone, Heard().reporter, BrokenFrom(epoch=1))

    assert caught.value.history is not None
    assert caught.value.history.epoch == 1
    assert equal(weights_of(model), weights_of(once))


def test_weights_broken_by_the_last_step_are_found() -> None:
    model = toy_model()
    weight = model.network.get_parameter("classifier.weight")
    weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(BadInput, match="weight of the student is no longer finite after epoch 1"):
        trained(model, briefly(epochs=1, batch_size=100))


def test_batch_norm_is_not_given_a_single_example() -> None:
    with pytest.raises(BadInput, match="leaves a batch of one of 22") as caught:
        trained(toy_model(CifarResnet(variant="8")), briefly(batch_size=1))

    assert caught.value.code == "batch_too_small"
    trained(toy_model(), briefly(epochs=1, batch_size=1))


def test_learning_works() -> None:
    model = toy_model(Mlp(hidden_sizes=[16]))
    history = trained(model, briefly(epochs=40, optimizer={"name": "adamw", "lr": 0.02}))

    data = toy_images()
    logits = model(torch.tensor(data.inputs[data.ids["test"]]).float())
    assert np.mean(logits.argmax(dim=1).numpy() == data.labels[data.ids["test"]]) >= 0.8
    assert history.kept is not None
    assert history.kept.validation["accuracy"] >= 0.8


def test_a_step_is_the_same_however_it_is_cut_into_micro_batches() -> None:
    """Sums over the step's own count: not a mean of means of unequal parts."""
    weights = []
    for micro_batch_size in (None, 3, 1):
        model = toy_model()
        training = briefly(micro_batch_size=micro_batch_size, optimizer={"name": "sgd", "lr": 0.1})
        history = trained(model, training, Labels(), LogitMse(), teacher=toy_model(seed=3))
        weights.append(weights_of(model))
        assert history.epochs[-1].losses["labels"] > 0

    for other in weights[1:]:
        for name, value in weights[0].items():
            torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-6)


def test_micro_batches_are_refused_where_they_would_change_what_is_compared() -> None:
    pair = LayerPair(student="hidden.0", teacher="hidden.0")
    training = briefly(micro_batch_size=2)
    with pytest.raises(BadInput, match="'similarity' relates the examples"):
        trained(toy_model(), training, Similarity(layers=[pair]), teacher=toy_model())
    with pytest.raises(BadInput, match="has batch norm"):
        trained(toy_model(CONVNET), training)


def test_a_loss_s_weight_follows_its_schedule() -> None:
    halving = WeightSchedule(decay="linear", final=0.0)
    still = briefly(epochs=1, batch_size=8, optimizer={"name": "sgd", "lr": 1e-30})
    plan = plan_of("student", still, [Labels(weight=2.0, weight_schedule=halving)])
    data = toy_images()
    model = toy_model()
    record = train(model, data, plan, Heard().reporter).epochs[0]

    order = epoch_order(data.ids["train"], seed=0, epoch=0)
    expected = 0.0
    for weight, ids in zip((2.0, 1.0, 0.0), np.array_split(order, 3), strict=True):
        logits = model(torch.tensor(data.inputs[ids]).float())
        labels = torch.tensor(data.labels[ids])
        expected += weight * F.cross_entropy(logits, labels, reduction="sum").item()
    assert record.loss == pytest.approx(expected / len(order), rel=1e-4)


def test_peers_learn_from_each_other_and_end_up_closer_than_alone() -> None:
    def distance(objective: list[AnyLoss], seed: int) -> float:
        pair = toy_model(seed=1), toy_model(CONVNET, seed=2)
        training = briefly(epochs=12, optimizer=QUICK, seed=seed)
        plans = [plan_of(role, training, objective) for role in ("student", "peer")]
        histories = train_mutually(pair, toy_images(), (plans[0], plans[1]), Heard().reporter)
        for history in histories:
            assert history.epochs[-1].losses["labels"] < history.epochs[0].losses["labels"]
        data = toy_images()
        images = torch.tensor(data.inputs[data.ids["test"]]).float()
        one, other = (model(images).softmax(dim=1) for model in pair)
        return float((one - other).abs().mean().detach())

    together: list[AnyLoss] = [Labels(), SoftTargets(weight=5, temperature=1)]
    apart = sum(distance([Labels()], seed) for seed in range(3))
    assert sum(distance(together, seed) for seed in range(3)) < 0.8 * apart


def test_peers_of_one_architecture_do_not_drop_the_same_units() -> None:
    pair = (
        toy_model(Mlp(hidden_sizes=[6], dropout=0.5)),
        toy_model(Mlp(hidden_sizes=[6], dropout=0.5)),
    )
    plans = [plan_of(role, briefly(), [Labels()]) for role in ("student", "peer")]

    train_mutually(pair, toy_images(), (plans[0], plans[1]), Heard().reporter)

    alone = toy_model(Mlp(hidden_sizes=[6], dropout=0.5))
    train(alone, toy_images(), plans[0], Heard().reporter)
    assert equal(weights_of(pair[0]), weights_of(alone))
    assert not equal(weights_of(pair[1]), weights_of(alone))


def test_peers_train_reproducibly_and_not_on_each_other_s_graphs() -> None:
    runs = []
    for _ in range(2):
        pair = toy_model(seed=1), toy_model(seed=2)
        plans = [
            plan_of(role, briefly(), [Labels(), SoftTargets()]) for role in ("student", "peer")
        ]
        train_mutually(pair, toy_images(), (plans[0], plans[1]), Heard().reporter)
        runs.append([weights_of(model) for model in pair])

    assert equal(runs[0][0], runs[1][0])
    assert equal(runs[0][1], runs[1][1])
    assert not equal(runs[0][0], runs[0][1])
