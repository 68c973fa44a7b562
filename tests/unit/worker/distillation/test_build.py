"""A model is a function of its spec and seed, and survives a folder."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from app.contracts.model import CifarResnet, Convnet, Mlp
from tests.unit.worker.distillation.toys import equal, images_of, toy_model, weights_of
from worker.distillation.build import load_model, read_config, save_model

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


def test_a_config_of_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    save_model(toy_model(), tmp_path, Mlp(), images_of([1, 5, 5]))
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"mlp"', '"pickle"'))

    with pytest.raises(ValidationError, match="pickle"):
        read_config(tmp_path)
