"""What should be known of divided data before a model is judged by it.

Shapes: N = examples of the train part, C = labels or targets.
"""

from collections.abc import Collection, Iterator, Mapping
from itertools import combinations

import numpy as np
import numpy.typing as npt

from worker.distillation.dataset import PARTS, Part, RawData

FEW_EXAMPLES = 100
MUCH_LARGER = 20
MANY_DEVIATIONS = 20


def cautions(data: RawData, ids: Mapping[Part, npt.NDArray[np.int64]]) -> Iterator[str]:
    """Yield a warning of each thing that makes what is measured rough, or easy to misread."""
    num_test, num_validation = len(ids["test"]), len(ids["validation"])
    if num_test < FEW_EXAMPLES:
        cost = "what is measured on it is rough."
        if data.task == "classification":
            cost = f"one more error costs {100 / num_test:.1f} points of accuracy."
        yield f"The test part has only {num_test} examples: {cost}"
    if 0 < num_validation < FEW_EXAMPLES:
        yield (
            f"The validation part, which chooses the best epoch, has only {num_validation} "
            "examples."
        )
    if data.task == "classification":
        yield from _of_classes(data, ids["train"])
    elif data.task == "multi_label":
        yield from _of_labels(data, ids["train"], ids["test"])
    else:
        yield from _of_targets(data, ids["train"])


def overlaps(
    inputs: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
    ids: Mapping[Part, npt.NDArray[np.int64]],
    brought: Collection[Part],
) -> Iterator[str]:
    """Yield a warning where examples of parts that have files of their own are in others, too."""
    if not brought:
        return
    hashes = {part: _hashes(inputs, ids[part]) for part in PARTS}
    for one, other in combinations(PARTS, 2):
        num_same = int(np.isin(hashes[other], hashes[one]).sum())
        if num_same and not {one, other}.isdisjoint(brought):
            yield (
                f"{num_same:,} of the {len(ids[other]):,} {other} examples have the same inputs as "
                f"{one} examples: what is measured on them is too good."
            )


def unchosen(
    ids: Mapping[Part, npt.NDArray[np.int64]], seen: Mapping[Part, npt.NDArray[np.int64]]
) -> Iterator[str]:
    """Yield a warning where a student sees none of the examples that there are for validation."""
    if len(ids["validation"]) and not len(seen["validation"]):
        yield (
            f"All {len(ids['validation']):,} validation examples are of classes that "
            "transfer.omit_classes names: they choose no epoch of student or baseline, of which "
            "the last is kept."
        )


def _of_classes(data: RawData, train: npt.NDArray[np.int64]) -> Iterator[str]:
    counts = np.bincount(data.labels[train].astype(np.int64))
    rarest, commonest = int(counts.argmin()), int(counts.argmax())
    if counts[commonest] > MUCH_LARGER * counts[rarest]:
        yield (
            f'Class "{data.output_names[commonest]}" has {counts[commonest]:,} training examples, '
            f'"{data.output_names[rarest]}" has {counts[rarest]:,}: judge by macro F1 rather than '
            "by accuracy."
        )


def _of_labels(
    data: RawData, train: npt.NDArray[np.int64], test: npt.NDArray[np.int64]
) -> Iterator[str]:
    yes_C, no_C = ((data.labels[train] == value).sum(axis=0) for value in (1, 0))
    unevenness_C = np.maximum(yes_C, no_C) / np.minimum(yes_C, no_C)
    num_uneven, worst = int((unevenness_C > MUCH_LARGER).sum()), int(unevenness_C.argmax())
    if num_uneven:
        yield (
            f"{num_uneven:,} of {len(yes_C):,} labels are nearly always yes or nearly always no, "
            f'most of all "{data.output_names[worst]}" ({yes_C[worst]:,} yes and {no_C[worst]:,} '
            "no in training): judge by macro F1 rather than by accuracy."
        )
    never = np.flatnonzero((data.labels[test] == 1).sum(axis=0) == 0)
    if len(never):
        yield (
            f"{len(never):,} of {len(yes_C):,} labels have no yes in the test part, such as "
            f'"{data.output_names[never[0]]}": how well they are found is not measured.'
        )


def _of_targets(data: RawData, train: npt.NDArray[np.int64]) -> Iterator[str]:
    targets_NC = data.labels[train].astype(np.float64)
    deviations_NC = np.abs(targets_NC - targets_NC.mean(axis=0)) / targets_NC.std(axis=0)
    furthest_C = deviations_NC.max(axis=0)
    worst = int(furthest_C.argmax())
    if furthest_C[worst] > MANY_DEVIATIONS:
        yield (
            f'Target "{data.output_names[worst]}" has a training value {furthest_C[worst]:.0f} '
            "standard deviations from the mean: squared errors are ruled by such values; a huber "
            "distance is not."
        )


def _hashes(
    inputs: npt.NDArray[np.uint8] | npt.NDArray[np.float32], ids: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return a hash of 64 bits of each example: by chance, no two are the same."""
    rows = inputs.view(np.ndarray)  # rows of a memory map are slow to make
    return np.fromiter((hash(rows[each].tobytes()) for each in ids), np.int64, len(ids))
