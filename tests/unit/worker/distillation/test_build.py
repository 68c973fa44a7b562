"""A model is a function of its spec and seed, and survives a folder."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from app.contracts.dataset import Task
from app.contracts.model import CifarResnet, Convnet, Mlp
from tests.unit.worker.distillation.toys import (
    SMALL,
    equal,
    images_of,
    table_of,
    toy_model,
    toy_table,
    weights_of,
)
from worker.distillation.build import build, load_model, read_config, save_model

RAW = torch.arange(100, dtype=torch.float32).reshape(4, 1, 5, 5)


def test_one_seed_gives_one_model_and_another_seed_another() -> None:
    assert equal(weights_of(toy_model(seed=3)), weights_of(toy_model(seed=3)))
    assert not equal(weights_of(toy_model(seed=0)), weights_of(toy_model(seed=1)))


def test_building_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    toy_model(seed=1)

    assert torch.equal(torch.rand(3), expected)


def test_a_model_standardises_raw_inputs_itself() -> None:
    model = toy_model()

    assert torch.equal(model(RAW), model.network((RAW - 100) / 50))


@pytest.mark.parametrize(
    "architecture", [Mlp(), Convnet(channels=[4, 4]), CifarResnet(variant="8")]
)
def test_a_saved_model_answers_as_before(
    tmp_path: Path, architecture: Mlp | Convnet | CifarResnet
) -> None:
    model = toy_model(architecture).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    save_model(model, tmp_path, architecture, images_of([1, 5, 5]))
    loaded = load_model(tmp_path, "cpu")

    assert not loaded.training
    assert equal(weights_of(loaded), weights_of(model))
    torch.testing.assert_close(loaded(RAW), model(RAW))
    assert read_config(tmp_path).architecture == architecture
    assert read_config(tmp_path).description == images_of([1, 5, 5])


@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_a_model_of_a_table_has_an_output_a_name_and_survives_its_folder(
    task: Task, tmp_path: Path
) -> None:
    rows = torch.tensor(toy_table(task).inputs)
    model = build(SMALL, table_of(task), seed=1)
    save_model(model, tmp_path, SMALL, table_of(task))
    loaded = load_model(tmp_path)

    assert loaded(rows).shape == (36, 2)
    assert torch.equal(loaded(rows), model(rows))
    assert read_config(tmp_path).description == table_of(task)


def test_predictions_are_in_the_units_of_the_targets_and_answers_in_deviations() -> None:
    rows = torch.tensor(toy_table("regression").inputs)
    model = build(SMALL, table_of("regression"), seed=1)

    answers_BC = model.answers(rows)

    assert torch.equal(answers_BC, model.network((rows - 2) / 3))
    expected_BC = answers_BC * torch.tensor([8.0, 0.5]) + torch.tensor([170.0, -4.0])
    assert torch.equal(model(rows), expected_BC)


def test_logits_of_labels_are_answered_as_they_are() -> None:
    rows = torch.tensor(toy_table("multi_label").inputs)
    model = build(SMALL, table_of("multi_label"), seed=1)

    assert torch.equal(model(rows), model.answers(rows))


def test_weights_in_a_file_carry_the_units_of_the_targets(tmp_path: Path) -> None:
    description = table_of("regression")
    save_model(build(SMALL, description, seed=1), tmp_path, SMALL, description)

    written = load_file(tmp_path / "model.safetensors")

    assert written["restore.mean_C"].tolist() == description.output_mean
    assert written["restore.std_C"].tolist() == description.output_std


def test_equal_models_are_equal_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        save_model(toy_model(seed=4), tmp_path / name, Mlp(), images_of([1, 5, 5]))

    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    save_model(toy_model(), tmp_path, Mlp(hidden_sizes=[7]), images_of([1, 5, 5]))

    with pytest.raises(RuntimeError, match="size mismatch"):
        load_model(tmp_path, "cpu")


def test_a_model_saved_when_there_were_only_classes_is_read_as_such(tmp_path: Path) -> None:
    save_model(toy_model(), tmp_path, SMALL, images_of([1, 5, 5]))
    config = json.loads((tmp_path / "config.json").read_text())
    described = config["description"]
    described["class_names"] = described.pop("output_names")
    for name in ("task", "output_mean", "output_std"):
        del described[name]
    (tmp_path / "config.json").write_text(json.dumps(config))

    assert read_config(tmp_path).description == images_of([1, 5, 5])
    assert equal(weights_of(load_model(tmp_path)), weights_of(toy_model()))


def test_a_config_of_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    save_model(toy_model(), tmp_path, Mlp(), images_of([1, 5, 5]))
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"mlp"', '"pickle"'))

    with pytest.raises(ValidationError, match="pickle"):
        read_config(tmp_path)
