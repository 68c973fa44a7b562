"""Divide examples into train, validation and test by a seed; classes evenly.

Shapes: N = examples, C = labels.
"""

import math
from collections.abc import Callable, Sequence

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
    return _divided(labels, split, test, np.random.default_rng(split.seed).permutation)


def divide_at_random(
    num_examples: int, split: Split, test: npt.NDArray[np.bool_] | None
) -> dict[Part, Ids]:
    """Return the ids of each part, ascending, of examples that are not of one class each.

    ``test`` and the sizes of the parts are as in ``divide``. Raises BadInput where there are too
    few examples.
    """
    _check_number(num_examples if test is None else int((~test).sum()), _num_parts(split, test))
    one_group = np.zeros(num_examples, np.int64)
    return _divided(one_group, split, test, np.random.default_rng(split.seed).permutation)


def divide_labels(
    labels_NC: npt.NDArray[np.float32], split: Split, test: npt.NDArray[np.bool_] | None
) -> dict[Part, Ids]:
    """Divide at random, but hold no label's only yes, or only no, out of the train part.

    ``labels_NC`` is 1, 0, or NaN where nobody knows; all else is as in ``divide_at_random``.
    """
    candidates = np.arange(len(labels_NC)) if test is None else np.flatnonzero(~test)
    _check_number(len(candidates), _num_parts(split, test))
    generator = np.random.default_rng(split.seed)
    kept = _representatives(labels_NC, generator.permutation(candidates))

    def kept_last(ids: Ids) -> Ids:
        order = generator.permutation(ids)
        return order[np.argsort(np.isin(order, kept), kind="stable")]

    return _divided(np.zeros(len(labels_NC), np.int64), split, test, kept_last)


def _num_parts(split: Split, test: npt.NDArray[np.bool_] | None) -> int:
    return 1 + (split.validation > 0) + (test is None)


def _check_number(num_examples: int, num_parts: int) -> None:
    if num_examples < num_parts:
        raise BadInput(
            "too_few_examples",
            f"{num_examples} examples cannot be divided into {num_parts} parts",
            "Add examples, or set `split.validation` to 0.",
        )


def _representatives(labels_NC: npt.NDArray[np.float32], order: Ids) -> Ids:
    """Return the first ids in ``order`` that hold a yes and a no of every label, rarest first."""
    counts = [
        (np.count_nonzero(labels_NC[order, label] == value), label, value)
        for label in range(labels_NC.shape[1])
        for value in (0, 1)
    ]
    kept: list[int] = []
    for count, label, value in sorted(counts):
        if count and value not in labels_NC[kept, label]:
            kept.append(order[labels_NC[order, label] == value][0])
    return np.array(kept, np.int64)


def _divided(
    groups: npt.NDArray[np.int64],
    split: Split,
    test: npt.NDArray[np.bool_] | None,
    draw: Callable[[Ids], Ids],
) -> dict[Part, Ids]:
    everything = np.arange(len(groups))
    if test is None:
        num_left = _num_parts(split, test) - 1
        held_out = _drawn(groups, everything, split.test, num_left, draw)
        rest = np.setdiff1d(everything, held_out)
        share = split.validation * len(everything) / len(rest)
    else:
        held_out, rest = everything[test], everything[~test]
        share = split.validation
    validation = _drawn(groups, rest, share, 1, draw)
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
    groups: npt.NDArray[np.int64],
    ids: Ids,
    share: float,
    num_left: int,
    draw: Callable[[Ids], Ids],
) -> Ids:
    """Draw a share of ``ids``, rounded up, from each group alike: 1, or more, but leave some.

    ``draw`` puts a group's ids into the order in which they are drawn.
    """
    if share == 0:
        return np.empty(0, np.int64)
    members = [ids[groups[ids] == group] for group in np.unique(groups[ids])]
    wanted = np.array([share * len(each) for each in members])
    counts = np.floor(wanted).astype(np.int64)
    # What is left to draw goes to the groups that rounding down took most from.
    # The share of a whole may be a hair above it: 0.1 * 30 is 3.0000000000000004.
    missing = math.ceil(share * len(ids) - 1e-6) - int(counts.sum())
    counts[np.argsort(counts - wanted, kind="stable")[: max(0, missing)]] += 1
    counts = np.clip(counts, 1, [len(each) - num_left for each in members])
    drawn = [draw(each)[:count] for each, count in zip(members, counts, strict=True)]
    return np.sort(np.concatenate(drawn))
