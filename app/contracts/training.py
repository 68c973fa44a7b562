"""How a model is trained: length, optimizer, schedule, augmentation, precision, seed."""

from typing import Annotated, Literal

from pydantic import Field

from app.contracts.strict import Strict


class Sgd(Strict):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    lr: float = Field(0.05, gt=0, le=100, description="Learning rate at the schedule's peak.")
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(5e-4, ge=0, le=1)


class Adamw(Strict):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    name: Literal["adamw"] = "adamw"
    lr: float = Field(1e-3, gt=0, le=100, description="Learning rate at the schedule's peak.")
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0, le=1)


AnyOptimizer = Annotated[Sgd | Adamw, Field(discriminator="name")]


class WarmedUp(Strict):
    """Settings of every schedule that may start with a linear warm-up."""

    warmup_epochs: float = Field(
        0.0, ge=0, le=1000, description="Epochs over which the rate rises from 0 to its peak."
    )


class Constant(WarmedUp):
    """The same rate from the first step to the last."""

    name: Literal["constant"] = "constant"


class Step(WarmedUp):
    """The rate is multiplied at given epochs."""

    name: Literal["step"] = "step"
    milestones: list[Annotated[int, Field(ge=1)]] = Field(
        min_length=1, max_length=100, description="Epochs after which the rate drops."
    )
    factor: float = Field(0.1, gt=0, lt=1)


class Cosine(WarmedUp):
    """The rate falls to `final` of its peak along half a cosine."""

    name: Literal["cosine"] = "cosine"
    final: float = Field(0.0, ge=0, le=1, description="Share of the peak at the last step.")


class OneCycle(Strict):
    """The rate rises to its peak and falls to nearly nothing (Smith and Topin, 2018)."""

    name: Literal["one_cycle"] = "one_cycle"
    rise: float = Field(0.3, gt=0, lt=1, description="Share of the steps that the rise takes.")


AnySchedule = Annotated[Constant | Step | Cosine | OneCycle, Field(discriminator="name")]


class Flip(Strict):
    """Mirror half of the images left to right."""

    name: Literal["flip"] = "flip"


class ShiftCrop(Strict):
    """Move each image by up to some pixels each way, filling with black."""

    name: Literal["shift_crop"] = "shift_crop"
    pixels: int = Field(4, ge=1, le=64, description="The furthest move, in pixels.")


AnyAugmentation = Annotated[Flip | ShiftCrop, Field(discriminator="name")]


class Training(Strict):
    """How one model is trained."""

    epochs: int = Field(30, ge=1, le=100_000, description="Passes over the training examples.")
    batch_size: int = Field(128, ge=1, le=65_536, description="Examples a step.")
    micro_batch_size: int | None = Field(
        None,
        ge=1,
        le=65_536,
        description="Examples at once: a step adds up the gradients of its micro-batches, to the "
        "same result in less memory. Not with losses that relate the examples of a batch, with "
        "batch norm, or with a peer.",
    )
    optimizer: AnyOptimizer = Adamw()
    schedule: AnySchedule = OneCycle()
    augmentation: list[AnyAugmentation] = Field(
        default=[], max_length=8, description="Changes to images, in order, new at every epoch."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Of the forward pass; weights stay float32."
    )
    seed: int = Field(0, ge=0, lt=2**63)
    deterministic: bool = Field(
        default=True, description="Same spec, same machine type, same bits; slower on a GPU."
    )
