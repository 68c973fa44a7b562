"""Batches are even, whole and in order, from memory and from the mapped file alike."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.worker.distillation.toys import toy_images, toy_table
from worker.distillation import feed
from worker.distillation.dataset import Dataset
from worker.distillation.feed import Feed

CPU = torch.device("cpu")


@given(st.integers(0, 36), st.integers(1, 40))
def test_every_example_comes_once_in_batches_that_differ_by_at_most_one(
    num_examples: int, batch_size: int
) -> None:
    ids = np.arange(num_examples)[::-1].copy()
    batches = list(Feed(toy_images(), CPU).batches(ids, batch_size))
    sizes = [len(ids_B) for ids_B, _ in batches]

    assert [number for ids_B, _ in batches for number in ids_B.tolist()] == ids.tolist()
    assert len(sizes) == feed.num_batches(num_examples, batch_size)
    assert not sizes or (max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1)


def test_the_mapped_file_gives_what_memory_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_images().save(tmp_path)
    mapped = Dataset.load(tmp_path)
    ids = np.array([7, 0, 21, 3])
    in_memory = list(Feed(mapped, CPU).batches(ids, 3))
    monkeypatch.setattr(feed, "MOST_RESIDENT_BYTES", 10)
    from_file = list(Feed(mapped, CPU).batches(ids, 3))

    for (ids_B, inputs), (file_ids_B, file_inputs) in zip(in_memory, from_file, strict=True):
        assert torch.equal(ids_B, file_ids_B)
        assert torch.equal(inputs, file_inputs)
        assert inputs.dtype == torch.float32
        assert torch.equal(inputs, torch.tensor(mapped.inputs[ids_B.numpy()]).float())


def test_classes_and_labels_are_fed_as_they_are() -> None:
    classes_N = Feed(toy_images(), CPU).labels
    labels_NC = Feed(toy_table("multi_label"), CPU).labels

    assert torch.equal(classes_N, torch.arange(36) % 3)
    assert labels_NC.dtype == torch.float32
    np.testing.assert_array_equal(labels_NC.numpy(), toy_table("multi_label").labels)
    assert labels_NC.isnan().any()


def test_targets_are_fed_in_standard_deviations_from_the_mean() -> None:
    data = toy_table("regression")
    data.labels[0] = [178, -5]  # the mean and a deviation, the mean and two less

    targets_NC = Feed(data, CPU).labels

    assert targets_NC.dtype == torch.float32
    assert targets_NC[0].tolist() == [1, -2]
    torch.testing.assert_close(
        targets_NC[1:], torch.tensor((data.inputs[1:, :2] - 2) / 3), rtol=1e-4, atol=1e-4
    )
