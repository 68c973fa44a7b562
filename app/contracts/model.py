"""Architectures, the teacher or teachers, assistants, and the student.

The engine builds each architecture from the module of the same name in
``worker/distillation/models``.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.contracts.objective import AnyLoss
from app.contracts.strict import FileId, KnowledgeId, ModelReference, Strict
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
    model: ModelReference


class EnsembleMember(Strict):
    """One teacher of several."""

    teacher: Annotated[TrainedTeacher | RegisteredTeacher, Field(discriminator="source")]
    weight: float = Field(1.0, gt=0, le=1e6, description="Its share is this over the sum of all.")


class Ensemble(Strict):
    """Several teachers whose weighted mean the student learns from."""

    source: Literal["ensemble"] = "ensemble"
    members: list[EnsembleMember] = Field(min_length=2, max_length=16)
    mean: Literal["probabilities", "logits"] = Field(
        description="What is averaged: class probabilities, or logits (regression: predictions)."
    )


class KnowledgeTeacher(Strict):
    """Knowledge collected by an earlier job, in place of a teacher."""

    source: Literal["knowledge"] = "knowledge"
    knowledge: KnowledgeId


class SignalsTeacher(Strict):
    """The answers of any other model, uploaded as Parquet, in place of a teacher.

    A column `example_id` (the example's number in the data, from 0, through all its files), and one
    column an output, named as the class, label or target.
    """

    source: Literal["signals"] = "signals"
    file: FileId
    values: Literal["logits", "probabilities", "predictions"] = Field(
        description="`predictions` are regression's, in the units of its targets."
    )


class MutualTeacher(Strict):
    """A peer that is trained beside the student, each learning from the other (DML, 2018)."""

    source: Literal["mutual"] = "mutual"
    architecture: AnyArchitecture


AnyTeacher = Annotated[
    TrainedTeacher
    | RegisteredTeacher
    | Ensemble
    | KnowledgeTeacher
    | SignalsTeacher
    | MutualTeacher,
    Field(discriminator="source"),
]


class Assistant(Strict):
    """A model of middle size that learns from the teacher and teaches the next (TAKD, 2020)."""

    architecture: AnyArchitecture
    training: Training = Training()
    objective: list[AnyLoss] | None = Field(
        None, min_length=1, max_length=16, description="The job's own, where not given."
    )


class RandomInitialization(Strict):
    """Start from the architecture's own random weights."""

    source: Literal["random"] = Field("random", alias="from")


class ModelInitialization(Strict):
    """Start from the weights of a registered model of the same architecture."""

    source: Literal["model"] = Field("model", alias="from")
    model: ModelReference


class TeacherInitialization(Strict):
    """Start from layers of the teacher, of the same family and widths.

    In each stack of like layers the student takes as many as it has; all else is taken whole.
    """

    source: Literal["teacher"] = Field("teacher", alias="from")
    layers: Literal["uniform", "first"] | list[Annotated[int, Field(ge=0, le=10_000)]] = Field(
        "uniform",
        description="Which of a stack: spread from the first to the last, the first ones, or "
        "these, counted from 0.",
    )

    @model_validator(mode="after")
    def _names_each_layer_once(self) -> Self:
        if isinstance(self.layers, list) and (
            not self.layers or self.layers != sorted(set(self.layers))
        ):
            raise ValueError(f"given {self.layers}; expected one or more layers, ascending")
        return self


AnyInitialization = Annotated[
    RandomInitialization | ModelInitialization | TeacherInitialization,
    Field(discriminator="source"),
]


class Student(Strict):
    """The small model that the job is for."""

    architecture: AnyArchitecture
    initialize: AnyInitialization = RandomInitialization()
