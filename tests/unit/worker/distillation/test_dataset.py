"""Prepared data survives its folder, is told from other data, and gives what may be learnt from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.unit.worker.distillation.toys import toy_images, toy_table
from worker.distillation import dataset
from worker.distillation.dataset import PARTS, Column, Dataset, InputDescription

TASKS = ("classification", "multi_label", "regression")


def toy(task: str) -> Dataset:
    if task == "classification":
        return toy_images()
    return toy_table("multi_label" if task == "multi_label" else "regression")


def renamed(data: Dataset, **changes: object) -> Dataset:
    return replace(data, description=data.description.model_copy(update=changes))


@pytest.mark.parametrize("task", TASKS)
def test_what_was_saved_is_loaded(task: str, tmp_path: Path) -> None:
    data = toy(task)
    data.save(tmp_path)

    loaded = Dataset.load(tmp_path)

    assert loaded.description == data.description
    assert loaded.labels.dtype == data.labels.dtype
    np.testing.assert_array_equal(loaded.labels, data.labels)
    np.testing.assert_array_equal(loaded.inputs, data.inputs)
    assert loaded.digest == data.digest


def test_a_digest_is_the_same_however_much_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = toy_images().digest
    monkeypatch.setattr(dataset, "DIGESTED_BYTES", 30)  # one image of 25 bytes at a time

    assert toy_images().digest == expected


def other_input(data: Dataset) -> Dataset:
    inputs = data.inputs.copy()
    inputs[-1, 0] += 1
    return replace(data, inputs=inputs)


def other_label(data: Dataset) -> Dataset:
    labels = data.labels.copy()
    labels[-1] += 1
    return replace(data, labels=labels)


def other_parts(data: Dataset) -> Dataset:
    train, validation, test = (data.ids[part] for part in PARTS)
    return replace(data, ids={"train": train, "validation": test, "test": validation})


def other_border(data: Dataset) -> Dataset:
    """Let the first example of validation be the last of train: the ids in a row stay the same."""
    both = np.concatenate([data.ids["train"], data.ids["validation"]])
    return replace(
        data, ids={"train": both[:23], "validation": both[23:], "test": data.ids["test"]}
    )


@pytest.mark.parametrize(
    "changed",
    [
        other_input(toy_table("regression")),
        other_label(toy_table("regression")),
        other_parts(toy_table("regression")),
        other_border(toy_table("regression")),
        renamed(toy_table("regression"), output_names=["height", "width"]),
        renamed(toy_table("regression"), columns=[Column(name="x")]),
        renamed(toy_table("regression"), task="multi_label"),
    ],
    ids=["input", "label", "parts", "border", "names", "columns", "task"],
)
def test_other_data_has_another_digest(changed: Dataset) -> None:
    assert changed.digest != toy_table("regression").digest


def test_a_transfer_set_leaves_out_the_omitted_classes_of_all_parts_but_test() -> None:
    data = toy_images(num_train=7, num_validation=3)  # classes 0, 1, 2, 0, 1, 2, 0; 1, 2, 0

    def ids(*omit_classes: str) -> list[list[int]]:
        return [data.transfer_set(omit_classes).ids[part].tolist() for part in PARTS]

    test = data.ids["test"].tolist()
    assert ids() == [[0, 1, 2, 3, 4, 5, 6], [7, 8, 9], test]
    assert ids("1") == [[0, 2, 3, 5, 6], [8, 9], test]
    assert ids("2", "0") == [[1, 4], [7], test]


def test_an_unknown_class_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="nine"):
        toy_images().transfer_set(["nine"])


def test_a_description_of_an_earlier_model_is_of_classification() -> None:
    description = InputDescription.model_validate(
        {"kind": "table", "shape": [1], "mean": [0], "std": [1], "output_names": ["a", "b"]}
    )

    assert (description.task, description.output_mean) == ("classification", None)
