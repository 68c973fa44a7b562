"""What is random in training, as pure functions of (seed, epoch, example id).

Nothing here has a state: an example's place in the order, its flip and its shift are the same
however the data is cut into batches, on whichever device, after whichever interruption. The bits
come from a counter-based generator: SplitMix64's finalizer (Steele, Lea and Flood, 2014,
"Fast Splittable Pseudorandom Number Generators", figure 16), in integers that wrap.

Shapes: B = batch, C = channels, H, W = height and width in pixels.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from app.contracts.training import AnyAugmentation, ShiftCrop

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB

# What a number is drawn for, so that order, dropout and each augmentation are independent.
_ORDER, _STEP, _AUGMENTATION = 1, 2, 3


def epoch_order(ids: npt.NDArray[np.int64], seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return ``ids`` in this epoch's order, whatever the order they came in."""
    ascending = np.sort(ids)
    draws = _draws(torch.from_numpy(ascending), _key(seed, _ORDER, epoch))
    order: npt.NDArray[np.int64] = torch.argsort(draws, stable=True).numpy()
    return ascending[order]


def step_seed(seed: int, step: int) -> int:
    """Return the seed, from 0 to 2**63 - 1, of what a step draws itself, such as dropout."""
    return _key(seed, _STEP, step) >> 1


def draws(numbers: Tensor, seed: int, purpose: int, counter: int) -> Tensor:
    """Return 64 random bits for each of some whole numbers, as int64 of the same shape.

    Another ``purpose`` (from 1000 on: those below are this module's own) or ``counter``, such as a
    step's, gives other bits.
    """
    return _draws(numbers.to(torch.int64), _key(seed, purpose, counter))


def augment(
    images_BCHW: Tensor,
    ids_B: Tensor,
    augmentations: Sequence[AnyAugmentation],
    seed: int,
    epoch: int,
) -> Tensor:
    """Return this epoch's view of each image: the augmentations in order, each drawn by its id.

    ``images_BCHW`` are raw pixels, in which black is 0; they are not changed.
    """
    for position, augmentation in enumerate(augmentations):
        draws_B = _draws(ids_B.to(torch.int64), _key(seed, _AUGMENTATION + position, epoch))
        if isinstance(augmentation, ShiftCrop):
            images_BCHW = _shifted(images_BCHW, draws_B, augmentation.pixels)
        else:
            images_BCHW = _flipped(images_BCHW, draws_B)
    return images_BCHW


def _flipped(images_BCHW: Tensor, draws_B: Tensor) -> Tensor:
    mirrored_B = (draws_B < 0).to(images_BCHW.device)  # the sign: one fair bit
    return torch.where(mirrored_B[:, None, None, None], images_BCHW.flip(-1), images_BCHW)


def _shifted(images_BCHW: Tensor, draws_B: Tensor, pixels: int) -> Tensor:
    """Move each image by -pixels to +pixels, each move as likely, along both sides."""
    B, C, H, W = images_BCHW.shape
    device = images_BCHW.device
    draws_B = draws_B.to(device)
    # 32 and 31 bits: far more than the moves there are, so the remainder is as good as even.
    down_B = (draws_B & 0xFFFFFFFF) % (2 * pixels + 1)
    right_B = _shift_right(draws_B, 33) % (2 * pixels + 1)
    rows_BH = down_B[:, None] + torch.arange(H, device=device)
    columns_BW = right_B[:, None] + torch.arange(W, device=device)
    padded_BCHW = F.pad(images_BCHW, (pixels, pixels, pixels, pixels))
    return padded_BCHW[
        torch.arange(B, device=device)[:, None, None, None],
        torch.arange(C, device=device)[None, :, None, None],
        rows_BH[:, None, :, None],
        columns_BW[:, None, None, :],
    ]


def _key(seed: int, purpose: int, counter: int) -> int:
    """Return 64 bits that any change of the seed, the purpose or the counter changes wholly."""
    key = 0
    for number in (seed, purpose, counter):
        key = _mixed((key + number + _GOLDEN) & _MASK)
    return key


def _mixed(number: int) -> int:
    number = ((number ^ (number >> 30)) * _FIRST) & _MASK
    number = ((number ^ (number >> 27)) * _SECOND) & _MASK
    return number ^ (number >> 31)


def _draws(ids: Tensor, key: int) -> Tensor:
    """Return 64 random bits for each id, as int64 of the same shape."""
    draws = ids * _signed(_GOLDEN) + _signed(key)
    draws = (draws ^ _shift_right(draws, 30)) * _signed(_FIRST)
    draws = (draws ^ _shift_right(draws, 27)) * _signed(_SECOND)
    return draws ^ _shift_right(draws, 31)


def _shift_right(numbers: Tensor, bits: int) -> Tensor:
    """Shift as if unsigned: torch has no arithmetic on uint64."""
    return (numbers >> bits) & ((1 << (64 - bits)) - 1)


def _signed(number: int) -> int:
    """Read 64 bits as two's complement, as int64 tensors hold them."""
    return number - 2**64 if number >= 2**63 else number
