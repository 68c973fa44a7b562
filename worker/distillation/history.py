"""What a training leaves beside its model: `history.json`, the curves and the epoch kept."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field

from app.contracts.report import Quality

_QUALITIES: tuple[Quality, ...] = ("r2", "macro_f1", "accuracy")
"""The first that an epoch has is what models of its task are compared by."""


class EpochRecord(BaseModel):
    """One epoch's means; the loss is that of training, weighted as the objective says."""

    epoch: int = Field(description="From 1.")
    lr: float = Field(description="Of the epoch's last step.")
    loss: float
    losses: dict[str, float] = Field(description="Of each term of the objective, not weighted.")
    validation: dict[str, float] = Field(
        {},
        description="`accuracy` and `log_loss`, of labels `macro_f1` too; or `rmse` and `r2`; "
        "empty without a validation part.",
    )

    def is_better_than(self, other: "EpochRecord | None") -> bool:
        """Say whether to keep this epoch rather than an earlier one."""
        if other is None or not other.validation:
            return True
        if self.validation.keys() != other.validation.keys():
            return True  # an earlier version has measured the other, and they do not compare
        return self.quality > other.quality

    @property
    def quality(self) -> tuple[float, float]:
        """Order epochs: by what models are compared by, then by log loss or RMSE."""
        error = self.validation.get("log_loss", self.validation.get("rmse", 0.0))
        qualities = (self.validation[name] for name in _QUALITIES if name in self.validation)
        return next(qualities, 0.0), -error

    def series(self, role: str) -> dict[str, float]:
        """Return the values by the names of their series, such as `student/loss`."""
        values = {f"{role}/lr": self.lr, f"{role}/loss": self.loss}
        values |= {f"{role}/loss/{name}": value for name, value in self.losses.items()}
        values |= {f"{role}/validation_{name}": value for name, value in self.validation.items()}
        return values


class History(BaseModel):
    """A whole training."""

    epoch: int | None = Field(None, description="The epoch kept, from 1; none if not trained.")
    epochs: list[EpochRecord] = []

    @property
    def kept(self) -> EpochRecord | None:
        return self.epochs[self.epoch - 1] if self.epoch is not None else None

    def save(self, folder: Path) -> None:
        (folder / "history.json").write_text(self.model_dump_json(indent=2))

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls.model_validate_json((folder / "history.json").read_text())
