"""Intervals against what statistics says of them."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from worker.distillation import bootstrap
from worker.distillation.bootstrap import interval, resampled
from worker.distillation.tallies import Floats

Z95 = 1.96


def logits_right(right: list[bool]) -> torch.Tensor:
    """Return logits of two classes, of which the first is true."""
    return torch.tensor([[1.0, 0.0] if each else [0.0, 1.0] for each in right])


def of_accuracy(num_examples: int, num_right: int, seed: int = 0) -> tuple[float, float]:
    answers = logits_right([place < num_right for place in range(num_examples)])
    labels = torch.zeros(num_examples, dtype=torch.int64)
    samples = resampled({"student": answers}, labels, "classification", seed)
    found = interval(samples["student"]["accuracy"])
    return found.low, found.high


def test_the_interval_of_an_accuracy_is_the_binomials() -> None:
    found = of_accuracy(400, 320)

    # A resample's number of right answers is binomial, of 400 draws at 0.8.
    expected = scipy.stats.binom.ppf([0.025, 0.975], 400, 0.8) / 400
    assert found == pytest.approx(tuple(expected), abs=0.006)


def test_intervals_are_those_of_scipys_percentile_bootstrap() -> None:
    generator = torch.Generator().manual_seed(1)
    targets = torch.randn(60, 1, generator=generator)
    predictions = targets + 0.5 * torch.randn(60, 1, generator=generator)

    samples = resampled({"student": predictions}, targets, "regression", 0)["student"]

    def rmse(errors: Floats, axis: int) -> Floats:
        found: Floats = np.sqrt(np.square(errors).mean(axis=axis))
        return found

    theirs = scipy.stats.bootstrap(
        [(predictions - targets)[:, 0].double().numpy()],
        rmse,
        n_resamples=2000,
        method="percentile",
        rng=7,
    ).confidence_interval
    ours = interval(samples["rmse"])
    spread = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.08 * spread)
    assert ours.high == pytest.approx(theirs.high, abs=0.08 * spread)


def test_both_models_are_measured_on_the_same_samples() -> None:
    """Right on the same 80 of 100 but for two more: the gain varies far less than each model."""
    labels = torch.zeros(100, dtype=torch.int64)
    answers = {
        role: logits_right([place < num_right for place in range(100)])
        for role, num_right in (("baseline", 80), ("student", 82))
    }

    samples = resampled(answers, labels, "classification", 0)
    gain_R = samples["student"]["accuracy"] - samples["baseline"]["accuracy"]

    assert gain_R.min() >= 0
    assert gain_R.std() == pytest.approx(math.sqrt(0.02 * 0.98 / 100), rel=0.1)
    assert samples["student"]["accuracy"].std() == pytest.approx(
        math.sqrt(0.82 * 0.18 / 100), rel=0.1
    )


def test_many_examples_are_drawn_in_groups_with_the_same_spread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bootstrap, "MOST_GROUPS", 1000)
    monkeypatch.setattr(bootstrap, "NUM_SAMPLES", 1000)

    low, high = of_accuracy(20_010, 16_008)

    half = Z95 * math.sqrt(0.8 * 0.2 / 20_010)
    assert low == pytest.approx(0.8 - half, abs=0.25 * half)
    assert high == pytest.approx(0.8 + half, abs=0.25 * half)


def test_the_samples_follow_from_the_seed() -> None:
    assert of_accuracy(50, 30, seed=3) == of_accuracy(50, 30, seed=3)
    labels = torch.zeros(50, dtype=torch.int64)
    answers = {"student": logits_right([place < 30 for place in range(50)])}
    one, other = (
        resampled(answers, labels, "classification", seed)["student"]["accuracy"] for seed in (1, 2)
    )
    assert not np.array_equal(one, other)


def test_of_a_single_example_every_sample_is_the_same() -> None:
    assert of_accuracy(1, 1) == (1, 1)
