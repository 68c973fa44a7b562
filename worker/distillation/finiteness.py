"""Stops a training at the step whose loss is no number, and says which loss and which batch.

Shapes: B = batch, K = losses.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worker.distillation.errors import NonFinite

MOST_EXAMPLES_SHOWN = 8


@dataclass(frozen=True)
class _Seen:
    sums_K: Tensor
    ids_B: Tensor
    step: int
    epoch: int
    arrived: torch.cuda.Event | None


class FinitenessWatch:
    """Looks at the losses of every step.

    On the CPU a broken loss never reaches a weight. A GPU would have to wait for each look, so
    there the losses travel along and are looked at one step later.
    """

    def __init__(self, role: str, names: list[str], device: torch.device) -> None:
        self._role = role
        self._names = names
        self._device = device
        self._last: _Seen | None = None

    def see(self, sums_K: Tensor, ids_B: Tensor, step: int, epoch: int) -> None:
        """Take the losses of a batch; steps and epochs count from 0.

        Raises:
            NonFinite: a loss of this batch, or on a GPU of the one before, is NaN or infinite.
        """
        self.look()
        sums_K = sums_K.detach()
        if self._device.type != "cuda":
            self._last = _Seen(sums_K, ids_B, step, epoch, arrived=None)
            self.look()
            return
        travelled = torch.empty(sums_K.shape, dtype=sums_K.dtype, pin_memory=True)
        travelled.copy_(sums_K, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        self._last = _Seen(travelled, ids_B, step, epoch, arrived)

    def look(self) -> None:
        """Look at what has not been looked at; at the end of an epoch nothing may be left."""
        seen, self._last = self._last, None
        if seen is None:
            return
        if seen.arrived is not None:
            seen.arrived.synchronize()
        for name, value in zip(self._names, seen.sums_K.tolist(), strict=True):
            if not math.isfinite(value):
                raise NonFinite(self._message(name, value, seen))

    def check_weights(self, model: nn.Module, epoch: int) -> None:
        """Raise NonFinite where a parameter is NaN or infinite after an epoch."""
        if not torch.stack([value.isfinite().all() for value in model.parameters()]).all():
            raise NonFinite(
                f"a weight of the {self._role} is no longer finite after epoch {epoch + 1}"
            )

    def check_validation(self, values: dict[str, float], epoch: int) -> None:
        """Raise NonFinite where what was measured after an epoch is NaN or infinite."""
        for name, value in values.items():
            if not math.isfinite(value):
                raise NonFinite(
                    f"the {self._role}'s {name} on validation is {value} after epoch {epoch + 1}"
                )

    def _message(self, name: str, value: float, seen: _Seen) -> str:
        ids = seen.ids_B.tolist()
        shown = ", ".join(map(str, ids[:MOST_EXAMPLES_SHOWN]))
        if len(ids) > MOST_EXAMPLES_SHOWN:
            shown += f", ... ({len(ids)} in all)"
        return (
            f"the {self._role}'s loss {name!r} is {value} at step {seen.step + 1} "
            f"(epoch {seen.epoch + 1}), in the batch of examples {shown}"
        )
