"""The data that ships with scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from app.contracts.dataset import Builtin
from worker.distillation.data.builtin import read
from worker.distillation.dataset import RawData


def read_named(name: str, folder: Path) -> RawData:
    return read(Builtin.model_validate({"name": name}), None, folder, lambda *_: None)


def test_digits_are_grey_images_whose_pixels_reach_from_black_to_white(tmp_path: Path) -> None:
    data = read_named("digits", tmp_path)

    assert data.inputs.shape == (1797, 1, 8, 8)
    assert data.inputs.dtype == np.uint8
    assert (data.inputs.min(), data.inputs.max()) == (0, 255)
    assert data.output_names == list("0123456789")


def test_no_two_greys_of_the_digits_fall_together(tmp_path: Path) -> None:
    pixels = read_named("digits", tmp_path).inputs[:, 0]

    assert (np.rint(pixels * (16 / 255)) == load_digits().images).all()


@pytest.mark.parametrize(
    ("name", "shape", "output_names"),
    [
        ("breast_cancer", (569, 30), ["malignant", "benign"]),
        ("wine", (178, 13), ["class_0", "class_1", "class_2"]),
    ],
)
def test_tables_have_their_columns_and_classes(
    name: str, shape: tuple[int, int], output_names: list[str], tmp_path: Path
) -> None:
    data = read_named(name, tmp_path)

    assert data.inputs.shape == shape
    assert data.inputs.dtype == np.float32
    assert data.output_names == output_names
    assert len(data.columns or []) == shape[1]
    assert set(data.labels.tolist()) == set(range(len(output_names)))


def test_diabetes_is_a_table_of_measurements_and_one_number_to_predict(tmp_path: Path) -> None:
    data = read_named("diabetes", tmp_path)

    assert data.task == "regression"
    assert data.output_names == ["progression"]
    assert data.inputs.shape == (442, 10)
    assert (data.labels.shape, data.labels.dtype) == ((442, 1), np.dtype(np.float32))
    # As sklearn's own description states the range of the target.
    assert (data.labels.min(), data.labels.max()) == (25, 346)
    ages = data.inputs[:, 0]
    assert data.columns is not None
    assert data.columns[0].name == "age"
    assert (ages.min(), ages.max()) == (19, 79)  # years, so not scaled by all examples


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "wine", "diabetes"])
def test_the_contract_knows_the_task_of_the_data(name: str, tmp_path: Path) -> None:
    assert Builtin.model_validate({"name": name}).task == read_named(name, tmp_path).task
