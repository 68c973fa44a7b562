"""Parts are drawn evenly over the classes, by a seed, and never overlap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.dataset import Split
from worker.distillation.dataset import PARTS
from worker.distillation.errors import BadInput
from worker.distillation.split import divide

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
