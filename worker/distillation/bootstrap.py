"""How sure a figure is: 95 % intervals from bootstrap samples of the test examples.

Efron and Tibshirani, 1993, "An Introduction to the Bootstrap", chapter 13 (percentile intervals).
All models are measured on the same samples, so that a difference's interval is of the pair.

Many examples are drawn in groups, to which chance has assigned them: sums over random groups vary
as those over examples do, and a million examples cost no more than ten thousand.

Shapes: N = examples, C = outputs, G = groups, S = sums of a group, R = samples.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from torch import Tensor

from app.contracts.dataset import Task
from app.contracts.report import Interval
from worker.distillation.tallies import Floats, Groups, num_sums, scores_of, tally

NUM_SAMPLES = 2000
MOST_GROUPS = 10_000
FEWEST_GROUPS = 200
MOST_VALUES = 20_000_000
"""Numbers held at once of one model's sums, unless that were too few groups."""
SAMPLES_AT_ONCE = 100

Samples = dict[str, Floats]


def resampled(
    answers: Mapping[str, Tensor], labels: Tensor, task: Task, seed: int
) -> dict[str, Samples]:
    """Return each score (R) of each model, by its role, on the same bootstrap samples.

    ``answers`` (N, C) and ``labels`` are as in ``metrics``; the samples follow from the seed.
    """
    num_outputs = next(iter(answers.values())).shape[1]
    generator = np.random.default_rng(seed)
    groups = _groups(len(labels), num_sums(task, num_outputs), generator)
    sums = {role: tally(each, labels, task, groups) for role, each in answers.items()}
    found: dict[str, list[Samples]] = {role: [] for role in answers}
    for weights_RG in _weights(groups.num_groups, num_sums(task, num_outputs), generator):
        for role, sums_GS in sums.items():
            found[role].append(scores_of(weights_RG @ sums_GS, task, num_outputs))
    return {role: _joined(parts) for role, parts in found.items()}


def interval(values_R: Floats) -> Interval:
    """Return the middle 95 % of the samples."""
    low, high = np.percentile(values_R, [2.5, 97.5])
    return Interval(low=float(low), high=float(high))


def _groups(num_examples: int, num_values: int, generator: np.random.Generator) -> Groups:
    num_groups = min(num_examples, MOST_GROUPS, max(FEWEST_GROUPS, MOST_VALUES // num_values))
    return Groups(generator.permutation(num_examples) % num_groups, num_groups)


def _weights(num_groups: int, num_values: int, generator: np.random.Generator) -> Iterator[Floats]:
    """Yield how often each group is in each sample, some samples at a time (R, G)."""
    at_once = max(1, min(SAMPLES_AT_ONCE, MOST_VALUES // num_values))
    for start in range(0, NUM_SAMPLES, at_once):
        num_samples = min(at_once, NUM_SAMPLES - start)
        drawn_RG = generator.integers(0, num_groups, (num_samples, num_groups))
        places = drawn_RG + num_groups * np.arange(num_samples)[:, None]
        counts = np.bincount(places.ravel(), minlength=num_samples * num_groups)
        yield counts.reshape(num_samples, num_groups).astype(np.float64)


def _joined(parts: list[Samples]) -> Samples:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
