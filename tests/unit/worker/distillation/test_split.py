"""Parts are drawn evenly over the classes, by a seed, and never overlap."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits, load_wine

from app.contracts.dataset import Split
from worker.distillation.dataset import PARTS
from worker.distillation.errors import BadInput
from worker.distillation.split import divide, divide_at_random, divide_labels

counts = st.lists(st.integers(3, 40), min_size=2, max_size=5)
shares = st.floats(0.01, 0.45)


def labels_of(class_counts: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    labels = np.repeat(np.arange(len(class_counts)), class_counts)
    return np.random.default_rng(0).permutation(labels)


@settings(deadline=None)
@given(counts, shares, shares, st.integers(0, 2**63 - 1))
def test_every_example_is_in_one_part_and_every_class_in_all(
    class_counts: list[int], validation: float, test: float, seed: int
) -> None:
    labels = labels_of(class_counts)
    names = [str(number) for number in range(len(class_counts))]

    ids = divide(labels, names, Split(validation=validation, test=test, seed=seed), None)

    together = np.concatenate([ids[part] for part in PARTS])
    assert sorted(together.tolist()) == list(range(len(labels)))
    for part in PARTS:
        assert ids[part].tolist() == sorted(ids[part])
        assert len(set(labels[ids[part]])) == len(class_counts)


def test_parts_have_their_share_of_all_and_of_each_class() -> None:
    labels = labels_of([100, 300])

    ids = divide(labels, ["a", "b"], Split(validation=0.1, test=0.2), None)

    sizes = {part: np.bincount(labels[ids[part]]).tolist() for part in PARTS}
    assert sizes == {"train": [70, 210], "validation": [10, 30], "test": [20, 60]}


@pytest.mark.parametrize(("num_examples", "expected"), [(1797, 899), (30, 15), (31, 16)])
def test_half_is_rounded_up_over_all_classes_together(num_examples: int, expected: int) -> None:
    labels = np.arange(num_examples) % 10

    ids = divide(labels, list("0123456789"), Split(validation=0, test=0.5), None)

    assert (len(ids["test"]), len(ids["validation"])) == (expected, 0)


def test_another_seed_draws_others_and_the_same_seed_the_same() -> None:
    labels = labels_of([50, 50])

    drawn = [
        divide(labels, ["a", "b"], Split(seed=seed), None)["test"].tolist() for seed in (0, 0, 1)
    ]

    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_the_datas_own_test_part_is_kept() -> None:
    labels = np.array([0, 1] * 20)
    own = np.arange(40) >= 30

    ids = divide(labels, ["a", "b"], Split(validation=0.2, test=0.9 - 0.2), own)

    assert ids["test"].tolist() == list(range(30, 40))
    assert (len(ids["validation"]), len(ids["train"])) == (6, 24)


@pytest.mark.parametrize(
    ("labels", "names", "own", "code", "says"),
    [
        ([0, 0, 0, 0], ["a"], None, "one_class", '"a"'),
        ([0, 0, 0, 1, 1], ["a", "b"], None, "class_too_small", 'Class "b" has 2'),
        ([0, 0, 0, 1, 1], ["a", "b"], [0, 0, 0, 1, 1], "class_too_small", 'Class "b" has 0'),
    ],
)
def test_a_class_that_cannot_be_in_every_part_is_refused(
    labels: list[int], names: list[str], own: list[int] | None, code: str, says: str
) -> None:
    test = None if own is None else np.array(own, np.bool_)

    with pytest.raises(BadInput) as caught:
        divide(np.array(labels), names, Split(), test)

    assert caught.value.code == code
    assert says in str(caught.value)


def test_the_rarest_class_reaches_every_part_whatever_the_shares() -> None:
    labels = labels_of([3, 500])

    ids = divide(labels, ["a", "b"], Split(validation=0.05, test=0.9), None)

    assert [np.bincount(labels[ids[part]])[0] for part in PARTS] == [1, 1, 1]


@pytest.mark.parametrize(
    ("labels", "split", "sha256"),
    [
        (load_digits().target, Split(), "c4098df566965af0"),
        (load_digits().target, Split(validation=0, test=0.5, seed=3), "34bf42fa964e3007"),
        (load_wine().target, Split(), "ffd469e2048be8b3"),
        (load_wine().target, Split(validation=0, test=0.5, seed=3), "396074979dd59983"),
    ],
)
def test_published_figures_rest_on_these_very_parts(
    labels: np.ndarray[tuple[int], np.dtype[np.int64]], split: Split, sha256: str
) -> None:
    """The digests are of the parts as the first release drew them."""
    names = [str(name) for name in np.unique(labels)]

    ids = divide(labels.astype(np.int64), names, split, None)

    drawn = b"".join(ids[part].tobytes() for part in PARTS)
    assert hashlib.sha256(drawn).hexdigest().startswith(sha256)


@settings(deadline=None)
@given(st.integers(3, 200), st.floats(0.01, 0.9), st.floats(0.01, 0.9), st.integers(0, 2**63 - 1))
def test_without_classes_every_example_is_in_one_part_and_no_part_is_empty(
    num_examples: int, validation: float, test: float, seed: int
) -> None:
    held_out = validation + test
    scale = 1 if held_out <= 0.95 else 0.94 / held_out
    split = Split(validation=validation * scale, test=test * scale, seed=seed)

    ids = divide_at_random(num_examples, split, None)

    together = np.concatenate([ids[part] for part in PARTS])
    assert sorted(together.tolist()) == list(range(num_examples))
    for part in PARTS:
        assert ids[part].tolist() == sorted(ids[part])
        assert len(ids[part]) > 0


def test_without_classes_a_part_has_its_share_rounded_up() -> None:
    ids = divide_at_random(442, Split(), None)

    sizes = {part: len(ids[part]) for part in PARTS}
    assert sizes == {"train": 308, "validation": 45, "test": 89}  # 44.2 and 88.4 rounded up


def test_without_classes_too_the_seed_decides() -> None:
    drawn = [divide_at_random(90, Split(seed=seed), None)["test"].tolist() for seed in (0, 0, 1)]

    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


@pytest.mark.parametrize(
    ("num_examples", "own"), [(2, None), (3, [False, True, True])], ids=["few", "own test part"]
)
def test_too_few_examples_for_the_parts_are_refused(
    num_examples: int, own: list[bool] | None
) -> None:
    test = None if own is None else np.array(own)

    with pytest.raises(BadInput, match=r"[12] examples cannot be divided into [23] parts"):
        divide_at_random(num_examples, Split(), test)
    with pytest.raises(BadInput, match=r"[12] examples cannot be divided into [23] parts"):
        divide_labels(np.ones((num_examples, 1), np.float32), Split(), test)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**63 - 1), st.lists(st.integers(0, 39), min_size=4, max_size=4))
def test_the_only_yes_and_the_only_no_of_each_label_are_trained_on(
    seed: int, places: list[int]
) -> None:
    labels_NC = np.full((40, 4), np.nan, np.float32)
    labels_NC[:, :2] = [0, 1]
    labels_NC[places[0], 0] = 1
    labels_NC[places[1], 1] = 0
    labels_NC[places[2], 2] = 1
    labels_NC[(places[2] + 1) % 40, 2] = 0

    ids = divide_labels(labels_NC, Split(seed=seed), None)

    assert {part: len(ids[part]) for part in PARTS} == {"train": 28, "validation": 4, "test": 8}
    for label in range(3):
        assert {0, 1} <= set(labels_NC[ids["train"], label].tolist())


def test_labels_of_many_examples_reach_every_part() -> None:
    labels_NC = (np.random.default_rng(0).random((300, 3)) < 0.3).astype(np.float32)

    ids = divide_labels(labels_NC, Split(), None)

    together = np.concatenate([ids[part] for part in PARTS])
    assert sorted(together.tolist()) == list(range(300))
    for part in PARTS:
        assert (labels_NC[ids[part]].mean(axis=0) > 0.1).all()
        assert (labels_NC[ids[part]].mean(axis=0) < 0.5).all()


def test_labels_keep_the_datas_own_test_part_even_if_it_holds_the_only_yes() -> None:
    labels_NC = np.zeros((20, 1), np.float32)
    labels_NC[19] = 1
    own = np.arange(20) >= 15

    ids = divide_labels(labels_NC, Split(validation=0.2), own)

    assert ids["test"].tolist() == [15, 16, 17, 18, 19]
    assert len(ids["validation"]) == 3
