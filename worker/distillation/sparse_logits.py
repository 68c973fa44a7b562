"""A distribution over very many classes in few bytes: the most probable ones, and the rest's mass.

A row holds, of the k most probable classes: their ids, ascending, in as few bits as the number of
classes needs; how far each log-probability lies below the greatest, in 8 bits of a square root
(fine where it matters, near the top); the range of that scale in one byte; and the logarithm of
the mass of all other classes as float16. No temperature is in it.

Shapes: B = batch, C = classes, K = classes kept.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

LEVELS = 255
SMALLEST_RANGE = 1 / 64
STEPS_PER_DOUBLING = 16
"""Of the range: it is at most 5 % wider than what it has to hold, and ends at gaps of 960,000."""
LEAST_LOG_MASS = -60_000.0
"""About where float16 ends; so no class is impossible, and its logarithm is finite."""
_TAIL_BYTES, _RANGE_BYTES = 2, 1

Bytes = npt.NDArray[np.uint8]
Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def num_bytes(num_classes: int, top_k: int) -> int:
    """Return the size of a row."""
    return _id_bytes(num_classes, top_k) + top_k + _RANGE_BYTES + _TAIL_BYTES


def encode(logits_BC: Tensor, top_k: int) -> Bytes:
    """Return the rows (B, bytes) of finite logits in float32, on any device; 1 <= top_k <= C."""
    ids_BK = logits_BC.topk(top_k, dim=1).indices.sort(dim=1).values
    kept_BK = logits_BC.gather(1, ids_BK)
    below_BK = kept_BK.amax(dim=1, keepdim=True) - kept_BK
    # Summed by itself: as one less the kept mass, a small rest would drown in rounding.
    rest_B = logits_BC.scatter(1, ids_BK, -torch.inf).logsumexp(dim=1)
    tail_B = (rest_B - logits_BC.logsumexp(dim=1)).clamp(min=LEAST_LOG_MASS)

    companded_BK = _companded(below_BK.double().cpu().numpy())
    scale_B = _scale(companded_BK.max(axis=1))
    levels_BK = np.rint(companded_BK / _range(scale_B)[:, None] * LEVELS)
    return np.concatenate(
        [
            _packed(ids_BK.cpu().numpy(), logits_BC.shape[1]),
            np.minimum(levels_BK, LEVELS).astype(np.uint8),
            scale_B[:, None],
            tail_B.half().cpu().numpy()[:, None].view(np.uint8),
        ],
        axis=1,
    )


def decode(rows: Bytes, num_classes: int, top_k: int, device: torch.device) -> Tensor:
    """Return log-probabilities (B, C) in float32; the classes not kept share their mass evenly.

    They are a distribution again, whatever was rounded. Only what was kept travels to ``device``.
    """
    ids_BK, kept_BK, others_B = unpacked(rows, num_classes, top_k)
    others_B1 = torch.from_numpy(others_B[:, None]).to(device, torch.float32)
    log_probs_BC = others_B1.repeat(1, num_classes)
    return log_probs_BC.scatter_(
        1, torch.from_numpy(ids_BK).to(device), torch.from_numpy(kept_BK).to(device, torch.float32)
    )


def unpacked(rows: Bytes, num_classes: int, top_k: int) -> tuple[Ids, Floats, Floats]:
    """Return ids and log-probabilities (B, K), and the log-probability (B) of every other class."""
    width = _id_bytes(num_classes, top_k)
    ids_BK = _ids(rows[:, :width], num_classes, top_k)
    range_B1 = _range(rows[:, width + top_k])[:, None]
    below_BK = _expanded(rows[:, width : width + top_k] / LEVELS * range_B1)
    log_total_B = np.log(np.exp(-below_BK).sum(axis=1))  # the greatest term is 1
    num_others = num_classes - top_k
    if num_others == 0:
        return ids_BK, -below_BK - log_total_B[:, None], np.zeros(len(rows))
    halves_B = np.ascontiguousarray(rows[:, width + top_k + _RANGE_BYTES :]).view(np.float16)[:, 0]
    # The kept classes are the most probable: the rest has at most its share of an even whole.
    tail_B = np.minimum(halves_B.astype(np.float64), np.log(num_others / num_classes))
    # What the rest does not have: rounding may not take mass from the whole or add any to it.
    log_mass_B = np.log(-np.expm1(tail_B))
    return ids_BK, (log_mass_B - log_total_B)[:, None] - below_BK, tail_B - np.log(num_others)


def _id_bytes(num_classes: int, top_k: int) -> int:
    return -(-top_k * _id_bits(num_classes) // 8)


def _id_bits(num_classes: int) -> int:
    return max(1, (num_classes - 1).bit_length())


def _companded(below_BK: Floats) -> Floats:
    """Return a scale on which equal steps cost about the same divergence, wherever they are.

    One nat is added under the root: without, the steps right below the top are finer than need be.
    """
    companded_BK: Floats = np.sqrt(1.0 + below_BK) - 1.0
    return companded_BK


def _expanded(companded_BK: Floats) -> Floats:
    return (companded_BK + 1.0) ** 2 - 1.0


def _scale(largest_B: Floats) -> Bytes:
    """Return the number of the smallest range that holds a value."""
    doublings = np.log2(np.maximum(largest_B, SMALLEST_RANGE) / SMALLEST_RANGE)
    scale_B: Bytes = np.clip(np.ceil(doublings * STEPS_PER_DOUBLING), 0, LEVELS).astype(np.uint8)
    return scale_B


def _range(scale_B: Bytes) -> Floats:
    range_B: Floats = SMALLEST_RANGE * 2.0 ** (scale_B / STEPS_PER_DOUBLING)
    return range_B


def _packed(ids_BK: Ids, num_classes: int) -> Bytes:
    num_rows, top_k = ids_BK.shape
    num_bits = _id_bits(num_classes)
    bits = ((ids_BK[:, :, None] >> np.arange(num_bits)[::-1]) & 1).astype(np.uint8)
    packed: Bytes = np.packbits(bits.reshape(num_rows, top_k * num_bits), axis=1)
    return packed


def _ids(packed: Bytes, num_classes: int, top_k: int) -> Ids:
    num_bits = _id_bits(num_classes)
    bits = np.unpackbits(packed, axis=1, count=top_k * num_bits)
    weights = 1 << np.arange(num_bits, dtype=np.int64)[::-1]
    return bits.reshape(len(packed), top_k, num_bits) @ weights
