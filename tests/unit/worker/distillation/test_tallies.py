"""Scores that follow from sums are those measured directly, however examples are grouped."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from app.contracts.dataset import Task
from worker.distillation.metrics import scores
from worker.distillation.tallies import Groups, num_sums, scores_of, tally

seeds = st.integers(0, 2**32 - 1)


def drawn(
    task: Task, num_examples: int, num_outputs: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    answers_NC = 2 * torch.randn(num_examples, num_outputs, generator=generator)
    if task == "classification":
        return answers_NC, torch.randint(num_outputs, (num_examples,), generator=generator)
    if task == "regression":
        return answers_NC, torch.randn(num_examples, num_outputs, generator=generator)
    chance = torch.rand(num_examples, num_outputs, generator=generator)
    labels_NC = (chance > 0.6).float()
    labels_NC[chance < 0.2] = torch.nan
    labels_NC[0, 0] = 1  # something is always known
    return answers_NC, labels_NC


@pytest.mark.parametrize("task", ["classification", "multi_label", "regression"])
@given(
    seed=seeds,
    num_examples=st.integers(1, 40),
    num_outputs=st.integers(2, 8),
    num_groups=st.integers(1, 12),
)
@settings(deadline=None, max_examples=30)
def test_sums_over_any_groups_give_the_scores(
    task: Task, seed: int, num_examples: int, num_outputs: int, num_groups: int
) -> None:
    answers, labels = drawn(task, num_examples, num_outputs, torch.Generator().manual_seed(seed))
    group_N = np.random.default_rng(seed).integers(0, num_groups, num_examples)

    sums_GS = tally(answers, labels, task, Groups(group_N, num_groups))
    found = scores_of(sums_GS.sum(axis=0)[None], task, num_outputs)

    assert sums_GS.shape == (num_groups, num_sums(task, num_outputs))
    measured = scores(answers, labels, task)
    for name, values in found.items():
        assert values[0] == pytest.approx(getattr(measured, name), abs=1e-6), name
    unnamed = {"num_examples", "quality", "intervals", "errors"}
    assert found.keys() == measured.model_dump(exclude_none=True).keys() - unnamed


def test_a_sample_without_a_known_label_is_scored_without_a_division_by_zero() -> None:
    answers, labels = torch.ones(2, 2), torch.tensor([[1.0, 0.0], [torch.nan, torch.nan]])
    sums_GS = tally(answers, labels, "multi_label", Groups(np.arange(2), 2))

    found = scores_of(sums_GS[1:], "multi_label", 2)

    assert all(np.isfinite(values).all() for values in found.values())


def test_a_sample_of_equal_targets_explains_nothing() -> None:
    """Rounding would leave a variance of 1e-17, and minus ten million explained."""
    targets = torch.tensor([[0.1], [0.7], [0.3]])
    sums_GS = tally(targets + 1, targets, "regression", Groups(np.arange(3), 3))

    found = scores_of(7 * sums_GS[:1], "regression", 1)

    assert found["r2"].tolist() == [0]
