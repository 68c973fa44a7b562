"""A recorded teacher is the live teacher, bit for bit, on the very views the student sees."""

from pathlib import Path

import numpy as np
import pytest
import torch

from app.contracts.model import AnyArchitecture, Convnet, Mlp
from app.contracts.response_losses import SoftTargets
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
from worker.distillation.dataset import Dataset
from worker.distillation.feed import Feed
from worker.distillation.knowledge import (
    LiveTeaching,
    RecordedTeaching,
    Teaching,
    collect_view,
    planned,
    rows_by_id,
)
from worker.distillation.training import Plan, train

CPU = torch.device("cpu")
VIEWED = briefly(augmentation=[{"name": "flip"}, {"name": "shift_crop", "pixels": 1}], seed=4)


def recorded(folder: Path, teacher: LiveTeaching, data: Dataset, views: int) -> RecordedTeaching:
    rows = rows_by_id(data, CPU)
    logits_VNC = np.zeros((views, len(data.ids["train"]), data.num_outputs), np.float32)
    for view in range(views):
        for ids_B, logits_BC in collect_view(view, teacher, VIEWED, data, Feed(data, CPU)):
            logits_VNC[view, rows[ids_B].numpy()] = logits_BC.numpy()
    np.save(folder / "logits.npy", logits_VNC, allow_pickle=False)
    return RecordedTeaching(folder, data, CPU)


@pytest.mark.parametrize("architecture", [Mlp(hidden_sizes=[40]), Convnet(channels=[8, 8])])
def test_learning_from_the_record_is_learning_from_the_teacher(
    tmp_path: Path, architecture: AnyArchitecture
) -> None:
    data = toy_images(num_train=37)
    save_model(toy_model(architecture, seed=9), tmp_path, architecture, images_of([1, 5, 5]))
    live = LiveTeaching(load_model(tmp_path), "float32")
    students = []
    sources: list[Teaching] = [live, recorded(tmp_path, live, data, views=3)]
    for teaching in sources:
        student = toy_model()
        train(
            student, data, Plan("student", VIEWED, [SoftTargets()], CPU), Heard().reporter, teaching
        )
        students.append(weights_of(student))

    assert equal(*students)


def test_each_view_is_of_its_epoch_and_each_row_of_its_example(tmp_path: Path) -> None:
    data = toy_images()
    record = recorded(tmp_path, LiveTeaching(toy_model(seed=9), "float32"), data, views=2)
    ids = torch.tensor([20, 3, 11])

    first, second = (record.signals(torch.empty(0), ids, epoch).logits_BC for epoch in (0, 1))
    stored = np.load(tmp_path / "logits.npy")

    assert not torch.equal(first, second)
    assert torch.equal(first, torch.tensor(stored[0, [20, 3, 11]]))
    assert torch.equal(second, torch.tensor(stored[1, [20, 3, 11]]))


def test_a_single_view_serves_every_epoch(tmp_path: Path) -> None:
    data = toy_images()
    record = recorded(tmp_path, LiveTeaching(toy_model(seed=9), "float32"), data, views=1)
    ids = torch.tensor([1, 2])

    first, last = (record.signals(torch.empty(0), ids, epoch).logits_BC for epoch in (0, 99))
    assert torch.equal(first, last)


def test_its_size_is_known_before_it_is_collected(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")

    plain = planned(briefly(), toy_images(), weights)
    viewed = planned(VIEWED, toy_images(), weights)

    assert (plain.views, plain.bytes) == (1, 22 * 3 * 4)
    assert (viewed.views, viewed.bytes) == (3, 3 * 22 * 3 * 4)
    assert plain.teacher_sha256.startswith("9a129038")


def test_a_live_teacher_is_in_eval_mode_and_gives_no_gradients() -> None:
    teaching = LiveTeaching(toy_model(Convnet(dropout=0.5)).train(), "float32", ("stages.0",))
    images = torch.rand(4, 1, 5, 5) * 255
    one, same = (teaching.signals(images, torch.arange(4), 0) for _ in range(2))

    assert torch.equal(one.logits_BC, same.logits_BC)
    assert not one.logits_BC.requires_grad
    assert not one.features["stages.0"].requires_grad
    assert teaching.shapes(images) == {"stages.0": tuple(one.features["stages.0"].shape[1:])}
