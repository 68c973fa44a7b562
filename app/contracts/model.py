"""Architectures, the teacher, and the student.

The engine builds each architecture from the module of the same name in
``worker/distillation/models``.
"""

from typing import Annotated, Literal

from pydantic import Field

from app.contracts.strict import ModelId, Strict
from app.contracts.training import Training

Width = Annotated[int, Field(ge=1, le=65_536)]


class Mlp(Strict):
    """Fully connected layers with ReLU, over the flattened input."""

    name: Literal["mlp"] = "mlp"
    hidden_sizes: list[Width] = Field(
        default=[128], max_length=32, description="Units of each hidden layer; empty is linear."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Probability, after each hidden layer.")


class Convnet(Strict):
    """A small plain CNN for images of any size and number of channels.

    Each stage is a 3x3 convolution, batch norm and ReLU, then a 2x2 pooling while the image is
    larger than one pixel; the last is averaged over the image.
    """

    name: Literal["convnet"] = "convnet"
    channels: list[Width] = Field(
        default=[16, 32, 64], min_length=1, max_length=16, description="Channels of each stage."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Probability, before the classifier.")


class CifarResnet(Strict):
    """The 6n+2 residual networks for 32x32 images (He et al., 2015, section 4.2).

    `8x4` and `32x4` are the four times wider ones of the distillation literature.
    """

    name: Literal["cifar_resnet"] = "cifar_resnet"
    variant: Literal["8", "20", "32", "56", "110", "8x4", "32x4"] = Field(
        "20", description="Depth, and x4 where the channels are four times as many."
    )


AnyArchitecture = Annotated[Mlp | Convnet | CifarResnet, Field(discriminator="name")]


class TrainedTeacher(Strict):
    """A teacher that the job trains first."""

    source: Literal["train"] = "train"
    architecture: AnyArchitecture
    training: Training = Training()


class RegisteredTeacher(Strict):
    """A teacher trained earlier: a registered model for the same classes and inputs."""

    source: Literal["model"] = "model"
    model: ModelId


AnyTeacher = Annotated[TrainedTeacher | RegisteredTeacher, Field(discriminator="source")]


class RandomInitialization(Strict):
    """Start from the architecture's own random weights."""

    source: Literal["random"] = Field("random", alias="from")


class ModelInitialization(Strict):
    """Start from the weights of a registered model of the same architecture."""

    source: Literal["model"] = Field("model", alias="from")
    model: ModelId


AnyInitialization = Annotated[
    RandomInitialization | ModelInitialization, Field(discriminator="source")
]


class Student(Strict):
    """The small model that the job is for."""

    architecture: AnyArchitecture
    initialize: AnyInitialization = RandomInitialization()
