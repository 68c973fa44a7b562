"""Sparse distributions: ids exactly, probabilities nearly, and a distribution when read."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from worker.distillation.sparse_logits import decode, encode, num_bytes, unpacked

CPU = torch.device("cpu")
quickly = settings(deadline=None, max_examples=30)


def logits_of(num_rows: int, num_classes: int, seed: int = 0, spread: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(num_rows, num_classes, generator=generator)


def through(logits_BC: torch.Tensor, top_k: int) -> torch.Tensor:
    return decode(encode(logits_BC, top_k), logits_BC.shape[1], top_k, CPU)


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int, int]:
    num_classes = draw(st.integers(1, 3000))
    return num_classes, draw(st.integers(1, min(num_classes, 70))), draw(st.integers(0, 2**31))


@given(sizes(), st.integers(0, 3))
@quickly
def test_the_ids_are_those_of_the_most_probable_classes(
    size: tuple[int, int, int], num_rows: int
) -> None:
    num_classes, top_k, seed = size
    logits_BC = logits_of(num_rows, num_classes, seed)

    rows = encode(logits_BC, top_k)
    ids_BK, _, _ = unpacked(rows, num_classes, top_k)

    assert rows.shape == (num_rows, num_bytes(num_classes, top_k))
    expected_BK = logits_BC.topk(top_k, dim=1).indices.sort(dim=1).values
    assert ids_BK.tolist() == expected_BK.tolist()


@given(sizes(), st.floats(0.01, 30))
@quickly
def test_what_is_read_is_a_distribution_near_the_one_given(
    size: tuple[int, int, int], spread: float
) -> None:
    num_classes, top_k, seed = size
    exact_BC = F.log_softmax(logits_of(2, num_classes, seed, spread), dim=1).double()

    read_BC = through(exact_BC.float(), top_k).double()

    torch.testing.assert_close(read_BC.logsumexp(dim=1), torch.zeros(2).double(), rtol=0, atol=1e-5)
    kept_BK = exact_BC.topk(top_k, dim=1)
    # Half a step of 255 of a range of at most sqrt(1 + gap) - 1, a twentieth too wide.
    gap_B1 = kept_BK.values[:, :1] - kept_BK.values[:, -1:]
    root_B1 = (1 + gap_B1).sqrt()
    most_B1 = 2 * root_B1 * (1.05 * (root_B1 - 1) + 1 / 64) / 510
    # And as much again where the sum that all are divided by is off.
    errors_BK = (read_BC.gather(1, kept_BK.indices) - kept_BK.values).abs()
    assert (errors_BK <= 2 * most_B1 + 2e-3).all()


def test_a_row_by_hand() -> None:
    """Five classes of 1/2, 1/4, 1/8, 1/16 and 1/16, of which two are kept."""
    logits_BC = torch.tensor([[1 / 16, 1 / 2, 1 / 8, 1 / 4, 1 / 16]]).log()

    (row,) = encode(logits_BC, top_k=2)

    # Ids 1 and 3 in three bits each: 001 011 and two bits of nothing.
    assert row[0] == 0b001_011_00
    # The greatest is at 0; the other, a gap of ln 2 below, at sqrt(1 + ln 2) - 1 = 0.30122. Of
    # ranges 2^(n/16) / 64 the first to hold that is n = 69, 0.31042: level 255 * 0.97034 = 247.4.
    assert row[1:4].tolist() == [0, 247, 69]
    # The other three have 1/4.
    assert row[4:].view(np.float16) == np.float16(math.log(1 / 4))

    ids_BK, kept_BK, others_B = unpacked(row[None], 5, 2)
    assert ids_BK.tolist() == [[1, 3]]
    assert np.exp(kept_BK[0]) == pytest.approx([1 / 2, 1 / 4], rel=2e-3)
    assert math.exp(others_B[0]) == pytest.approx(1 / 12, rel=1e-3)


@pytest.mark.parametrize("num_classes", [128, 32_768, 32_769, 65_536, 65_537, 131_073])
def test_ids_beyond_16_bits_survive(num_classes: int) -> None:
    """Pitfall: ids in int16 wrap at 32,768, in uint16 at 65,536."""
    logits_BC = torch.zeros(1, num_classes)
    most_probable = [0, 1, num_classes // 2, num_classes - 2, num_classes - 1]
    logits_BC[0, most_probable] = torch.tensor([10.0, 11, 12, 13, 14])

    read_BC = through(logits_BC, top_k=5)

    assert read_BC.topk(5).indices.sort().values.tolist() == [most_probable]
    assert read_BC.argmax() == num_classes - 1


def test_the_target_size_of_32_of_32000_is_met() -> None:
    assert num_bytes(32_000, 32) == 32 * 15 // 8 + 32 + 1 + 2 == 95


def test_what_is_read_may_be_softened_at_any_temperature() -> None:
    """Pitfall: a temperature baked in. The distribution is that of temperature 1, whole again."""
    logits_BC = logits_of(8, 60)
    top_k = 60

    for temperature in (0.5, 1.0, 4.0, 20.0):
        softened_BC = F.log_softmax(through(logits_BC, top_k) / temperature, dim=1)
        expected_BC = F.log_softmax(logits_BC / temperature, dim=1)
        divergence = F.kl_div(softened_BC, expected_BC, log_target=True, reduction="batchmean")
        assert abs(divergence.item()) < 1e-4


def test_the_mass_of_the_rest_is_kept_and_spread_evenly() -> None:
    """Pitfall: top-k not renormalised, or renormalised to 1 without the rest."""
    logits_BC = logits_of(4, 500, spread=1.0)
    exact_BC = F.softmax(logits_BC, dim=1)
    kept_BK = exact_BC.topk(10, dim=1)
    rest_B = 1 - kept_BK.values.sum(dim=1)

    read_BC = through(logits_BC, top_k=10).exp()
    others_BC = read_BC.scatter(1, kept_BK.indices, 0.0)

    assert rest_B.min() > 0.5
    torch.testing.assert_close(others_BC.sum(dim=1), rest_B, rtol=1e-3, atol=0)
    torch.testing.assert_close(
        others_BC.amax(dim=1, keepdim=True).expand(4, 500)[others_BC > 0], others_BC[others_BC > 0]
    )
    torch.testing.assert_close(
        read_BC.gather(1, kept_BK.indices), kept_BK.values, rtol=2e-2, atol=0
    )


@given(st.integers(0, 2**31))
@quickly
def test_no_shift_of_all_logits_changes_what_is_kept_by_more_than_rounding(seed: int) -> None:
    logits_BC = logits_of(3, 40, seed).mul(64).round().div(64)  # so that a shift is exact

    assert np.array_equal(encode(logits_BC, 8)[:, :15], encode(logits_BC + 16, 8)[:, :15])


@pytest.mark.parametrize("gap", [0.0, 1e-3, 60.0, 800.0, 1e4, 3e38])
def test_any_gap_gives_finite_numbers(gap: float) -> None:
    """At a gap of 1e4 the probability of the rest is 0 in any float; its logarithm is not."""
    logits_BC = torch.zeros(1, 50)
    logits_BC[0, 7] = gap

    read_BC = through(logits_BC, top_k=1)

    assert read_BC.isfinite().all()
    assert read_BC.exp().sum() == pytest.approx(1, abs=1e-5)
    if gap >= 1e-3:
        assert read_BC.argmax() == 7
    if gap <= 1e4:
        lowest = F.log_softmax(logits_BC, dim=1).min().item()
        assert read_BC.min().item() == pytest.approx(lowest, rel=2e-3)


@given(st.integers(2, 2000), st.data())
@quickly
def test_no_class_that_was_kept_becomes_less_probable_than_the_rest(
    num_classes: int, data: st.DataObject
) -> None:
    top_k = data.draw(st.integers(1, num_classes - 1))

    _, kept_BK, others_B = unpacked(encode(torch.zeros(1, num_classes), top_k), num_classes, top_k)

    assert kept_BK.min() >= others_B[0] - 1e-9


def test_all_classes_kept_leave_no_rest() -> None:
    logits_BC = logits_of(3, 4)

    torch.testing.assert_close(
        through(logits_BC, top_k=4), F.log_softmax(logits_BC, dim=1), rtol=0, atol=0.02
    )


def test_rounding_costs_less_than_the_bar() -> None:
    """Mean KL(exact || read) of the 32 kept and the rest's mass; peaked, as language models are."""
    generator = torch.Generator().manual_seed(0)
    exponents_B1 = 1.1 + 2.7 * torch.rand(100, 1, generator=generator)
    noise_BC = 0.7 * torch.randn(100, 32_000, generator=generator)
    logits_BC = noise_BC - exponents_B1 * torch.arange(1, 32_001).log()

    rows = encode(logits_BC, 32)
    ids_BK, kept_BK, others_B = map(torch.from_numpy, unpacked(rows, 32_000, 32))
    exact_BC = F.log_softmax(logits_BC.double(), dim=1)
    exact_BK = exact_BC.gather(1, ids_BK)
    rest_B = exact_BC.scatter(1, ids_BK, -torch.inf).logsumexp(dim=1)
    divergence_B = (exact_BK.exp() * (exact_BK - kept_BK)).sum(dim=1) + rest_B.exp() * (
        rest_B - others_B - math.log(32_000 - 32)
    )

    assert divergence_B.min() > -1e-12
    assert divergence_B.mean() < 1.5e-5
