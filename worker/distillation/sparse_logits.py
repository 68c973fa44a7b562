"""A distribution over very many classes in few bytes: the most probable ones, and the rest's mass.

A row holds, of the k most probable classes: their ids, ascending, in as few bits as the number of
classes needs; how far each log-probability lies below the greatest, in 8 bits of a square root
(fine where it matters, near the top); the range of that scale in one byte; and the logarithm of
the mass of all other classes as float16. No temperature is in it.

Shapes: B = batch, C = classes, K = classes kept.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

LEVELS = 255
SMALLEST_RANGE = 1 / 64
STEPS_PER_DOUBLING = 8
"""Of the range: with 8 it is at most 9 % wider than what it has to hold."""
LEAST_LOG_MASS = -60.0
_TAIL_BYTES, _RANGE_BYTES = 2, 1

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def num_bytes(num_classes: int, top_k: int) -> int:
    """Return the size of a row."""
    return _id_bytes(num_classes, top_k) + top_k + _RANGE_BYTES + _TAIL_BYTES


def encode(logits_BC: npt.NDArray[Any], top_k: int) -> Bytes:
    """Return the rows (B, bytes) of finite logits."""
    log_probs_BC = _log_softmax(logits_BC.astype(np.float64))
    ids_BK = np.argpartition(log_probs_BC, -top_k, axis=1)[:, -top_k:]
    ids_BK = np.sort(ids_BK, axis=1)
    kept_BK = np.take_along_axis(log_probs_BC, ids_BK, axis=1)
    below_BK = kept_BK.max(axis=1, keepdims=True) - kept_BK
    scale_B = _scale(below_BK.max(axis=1))
    levels_BK = np.sqrt(below_BK / _range(scale_B)[:, None]) * LEVELS
    mass_BC = np.exp(log_probs_BC)
    np.put_along_axis(mass_BC, ids_BK, 0.0, axis=1)
    with np.errstate(divide="ignore"):
        tail_B = np.maximum(np.log(mass_BC.sum(axis=1)), LEAST_LOG_MASS).astype(np.float16)
    return np.concatenate(
        [
            _packed(ids_BK, logits_BC.shape[1]),
            np.clip(np.rint(levels_BK), 0, LEVELS).astype(np.uint8),
            scale_B[:, None],
            tail_B[:, None].view(np.uint8),
        ],
        axis=1,
    )


def decode(rows: Bytes, num_classes: int, top_k: int) -> Floats:
    """Return log-probabilities (B, C); the classes that were not kept share their mass evenly."""
    ids_BK, kept_BK, tail_B = _unpacked(rows, num_classes, top_k)
    num_others = num_classes - top_k
    others_B = tail_B - np.log(num_others) if num_others else tail_B
    log_probs_BC = np.repeat(others_B[:, None], num_classes, axis=1).astype(np.float32)
    np.put_along_axis(log_probs_BC, ids_BK, kept_BK.astype(np.float32), axis=1)
    return log_probs_BC


def _unpacked(
    rows: Bytes, num_classes: int, top_k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return ids and log-probabilities (B, K), and the logarithm of the rest's mass (B)."""
    width = _id_bytes(num_classes, top_k)
    ids_BK = _ids(rows[:, :width], num_classes, top_k)
    levels_BK = rows[:, width : width + top_k].astype(np.float64) / LEVELS
    below_BK: npt.NDArray[np.float64] = levels_BK**2 * _range(rows[:, width + top_k])[:, None]
    halves_B = np.ascontiguousarray(rows[:, width + top_k + _RANGE_BYTES :]).view(np.float16)[:, 0]
    # The kept classes are the most probable: the rest has at most its share of an even whole.
    most = np.log1p(-min(top_k, num_classes - 1) / num_classes)
    tail_B: npt.NDArray[np.float64] = np.minimum(halves_B.astype(np.float64), most)
    # What the others do not have: rounding may not take mass from the whole or add any to it.
    mass_B = -np.expm1(tail_B) if top_k < num_classes else np.ones_like(tail_B)
    total_B = np.exp(-below_BK).sum(axis=1)
    return ids_BK, np.log(mass_B / total_B)[:, None] - below_BK, tail_B


def _id_bytes(num_classes: int, top_k: int) -> int:
    return -(-top_k * _id_bits(num_classes) // 8)


def _id_bits(num_classes: int) -> int:
    return max(1, (num_classes - 1).bit_length())


def _packed(ids_BK: npt.NDArray[np.int64], num_classes: int) -> Bytes:
    shifts = np.arange(_id_bits(num_classes))[::-1]
    bits = ((ids_BK[:, :, None] >> shifts) & 1).astype(np.uint8)
    packed: Bytes = np.packbits(bits.reshape(len(ids_BK), -1), axis=1)
    return packed


def _ids(packed: Bytes, num_classes: int, top_k: int) -> npt.NDArray[np.int64]:
    num_bits = _id_bits(num_classes)
    bits = np.unpackbits(packed, axis=1, count=top_k * num_bits)
    weights = 1 << np.arange(num_bits, dtype=np.int64)[::-1]
    return bits.reshape(len(packed), top_k, num_bits) @ weights


def _scale(largest_B: npt.NDArray[np.float64]) -> Bytes:
    """Return the number of the smallest range that holds a value."""
    doublings = np.log2(np.maximum(largest_B, SMALLEST_RANGE) / SMALLEST_RANGE)
    scale_B: Bytes = np.clip(np.ceil(doublings * STEPS_PER_DOUBLING), 0, LEVELS).astype(np.uint8)
    return scale_B


def _range(scale_B: Bytes) -> npt.NDArray[np.float64]:
    return SMALLEST_RANGE * 2.0 ** (scale_B / STEPS_PER_DOUBLING)


def _log_softmax(logits_BC: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    shifted = logits_BC - logits_BC.max(axis=1, keepdims=True)
    log_probs_BC: npt.NDArray[np.float64] = shifted - np.log(
        np.exp(shifted).sum(axis=1, keepdims=True)
    )
    return log_probs_BC
