"""A reader is told what makes the measures of some data rough, or easy to misread."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.contracts.dataset import Task
from worker.distillation.cautions import cautions
from worker.distillation.dataset import Part, RawData


def told(
    task: Task, labels: Sequence[object], num_test: int = 100, num_validation: int = 100
) -> list[str]:
    """Return the warnings of data whose last examples are for validation, then for testing."""
    array = np.array(labels, np.float32)
    ids = np.arange(len(array))
    num_train = len(array) - num_test - num_validation
    parts: dict[Part, npt.NDArray[np.int64]] = {
        "train": ids[:num_train],
        "validation": ids[num_train : num_train + num_validation],
        "test": ids[num_train + num_validation :],
    }
    names = ["first", "second", "third"]
    inputs = np.zeros((len(array), 1), np.float32)
    return list(cautions(RawData(inputs, array, names, task=task), parts))


def test_ample_and_even_data_needs_no_word() -> None:
    assert told("classification", [0, 1] * 200) == []
    assert told("multi_label", [[0, 1], [1, 0]] * 200) == []
    assert told("regression", [[0], [1]] * 200) == []


def test_a_small_test_part_of_classes_costs_points_of_accuracy() -> None:
    (warning,) = told("classification", [0, 1] * 200, num_test=40)

    assert "only 40 examples" in warning
    assert "2.5 points of accuracy" in warning


def test_a_small_test_part_of_numbers_is_not_spoken_of_in_accuracy() -> None:
    (warning,) = told("regression", [[0], [1]] * 200, num_test=40)

    assert "only 40 examples" in warning
    assert "accuracy" not in warning


def test_a_small_validation_part_is_told_of_and_an_empty_one_is_meant() -> None:
    (warning,) = told("multi_label", [[0], [1]] * 200, num_validation=99)

    assert "validation part" in warning
    assert told("multi_label", [[0], [1]] * 200, num_validation=0) == []


def test_a_rare_class_is_named_beside_the_commonest() -> None:
    (warning,) = told("classification", [*[0] * 190, *[1] * 9, *[0, 1] * 100])

    assert '"first" has 190' in warning
    assert '"second" has 9' in warning


def test_labels_that_are_nearly_always_one_answer_are_counted_and_the_worst_is_named() -> None:
    train = [[row == 0, row > 1, row % 2] for row in range(100)]

    (warning,) = told("multi_label", [*train, *[[1, 1, 1], [0, 0, 0]] * 100])

    assert "2 of 3 labels" in warning
    assert '"first" (1 yes and 99 no' in warning


def test_unknown_labels_are_neither_yes_nor_no() -> None:
    train = [[0 if row < 40 else 1 if row < 80 else np.nan] for row in range(1000)]

    assert told("multi_label", [*train, *[[1], [0]] * 100]) == []


def test_labels_that_testing_never_meets_are_told_of() -> None:
    test = [[row % 2, 0, np.nan] for row in range(100)]

    (warning,) = told("multi_label", [*[[1, 1, 1], [0, 0, 0]] * 100, *test])

    assert "2 of 3 labels have no yes in the test part" in warning
    assert '"second"' in warning


def test_a_target_far_from_all_others_is_told_of() -> None:
    train = [[row % 2, row % 2] for row in range(1000)]
    train[3][1] = 1_000

    (warning,) = told("regression", [*train, *[[0, 0], [1, 1]] * 100])

    assert '"second" has a training value 32 standard deviations' in warning
    assert "huber" in warning
