"""Divide examples into train, validation and test by a seed; classes evenly.

Shapes: N = examples.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.contracts.dataset import Split
from worker.distillation.dataset import Part
from worker.distillation.errors import BadInput

Ids = npt.NDArray[np.int64]


def divide(
    labels: npt.NDArray[np.int64],
    output_names: Sequence[str],
    split: Split,
    test: npt.NDArray[np.bool_] | None,
) -> dict[Part, Ids]:
    """Return the ids of each part, ascending; every class is in every part that is not empty.

    ``labels`` and ``test`` are (N,). Data that brings its own test part keeps it; validation is
    then a share of the rest. A part has its share of all examples, rounded up. Raises BadInput
    naming a class with too few examples.
    """
    _check_classes(labels if test is None else labels[~test], output_names, _num_parts(split, test))
    return _divided(labels, split, test)


def divide_at_random(
    num_examples: int, split: Split, test: npt.NDArray[np.bool_] | None
) -> dict[Part, Ids]:
    """Return the ids of each part, ascending, of examples that are not of one class each.

    ``test`` and the sizes of the parts are as in ``divide``. Raises BadInput where there are too
    few examples.
    """
    num_left = num_examples if test is None else int((~test).sum())
    if num_left < _num_parts(split, test):
        raise BadInput(
            "too_few_examples",
            f"{num_left} examples cannot be divided into {_num_parts(split, test)} parts",
            "Add examples, or set `split.validation` to 0.",
        )
    return _divided(np.zeros(num_examples, np.int64), split, test)


def _num_parts(split: Split, test: npt.NDArray[np.bool_] | None) -> int:
    return 1 + (split.validation > 0) + (test is None)


def _divided(
    labels: npt.NDArray[np.int64], split: Split, test: npt.NDArray[np.bool_] | None
) -> dict[Part, Ids]:
    everything = np.arange(len(labels))
    generator = np.random.default_rng(split.seed)
    if test is None:
        num_left = _num_parts(split, test) - 1
        held_out = _drawn(labels, everything, split.test, num_left, generator)
        rest = np.setdiff1d(everything, held_out)
        share = split.validation * len(everything) / len(rest)
    else:
        held_out, rest = everything[test], everything[~test]
        share = split.validation
    validation = _drawn(labels, rest, share, 1, generator)
    return {"train": np.setdiff1d(rest, validation), "validation": validation, "test": held_out}


def _check_classes(
    labels: npt.NDArray[np.int64], class_names: Sequence[str], num_parts: int
) -> None:
    if len(class_names) < 2:  # noqa: PLR2004 (what telling apart needs)
        raise BadInput(
            "one_class",
            f'All examples are of one class, "{class_names[0]}"; there is nothing to tell apart',
        )
    counts = np.bincount(labels, minlength=len(class_names))
    rarest = int(counts.argmin())
    if counts[rarest] < num_parts:
        raise BadInput(
            "class_too_small",
            f'Class "{class_names[rarest]}" has {counts[rarest]} examples to divide; it needs '
            f"{num_parts}, one for each part of the data",
            "Add examples, remove the class, or set `split.validation` to 0.",
        )


def _drawn(
    labels: npt.NDArray[np.int64],
    ids: Ids,
    share: float,
    num_left: int,
    generator: np.random.Generator,
) -> Ids:
    """Draw a share of ``ids``, rounded up, from each class alike: 1, or more, but leave some."""
    if share == 0:
        return np.empty(0, np.int64)
    members = [ids[labels[ids] == label] for label in np.unique(labels[ids])]
    wanted = np.array([share * len(each) for each in members])
    counts = np.floor(wanted).astype(np.int64)
    # What is left to draw goes to the classes that rounding down took most from.
    # The share of a whole may be a hair above it: 0.1 * 30 is 3.0000000000000004.
    missing = math.ceil(share * len(ids) - 1e-6) - int(counts.sum())
    counts[np.argsort(counts - wanted, kind="stable")[: max(0, missing)]] += 1
    counts = np.clip(counts, 1, [len(each) - num_left for each in members])
    drawn = [
        generator.permutation(each)[:count] for each, count in zip(members, counts, strict=True)
    ]
    return np.sort(np.concatenate(drawn))
