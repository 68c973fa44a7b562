"""Losses of what a model answers, one class each.

The engine runs each from the module of the same name in ``worker/distillation/losses``.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from app.contracts.dataset import Task
from app.contracts.loss import WITH_CLASSES, LossSpec
from app.contracts.strict import Strict

Temperature = Annotated[float, Field(gt=0, le=100, description="Softens both distributions.")]
ONE_OF_SEVERAL: tuple[Task, ...] = ("classification",)


class Squared(Strict):
    """The squared error."""

    name: Literal["squared"] = "squared"


class Huber(Strict):
    """Half the squared error up to ``delta``, in a line beyond (Huber, 1964)."""

    name: Literal["huber"] = "huber"
    delta: float = Field(
        1.0, gt=0, le=1000, description="In standard deviations of the train part's targets."
    )


class Quantile(Strict):
    """The pinball loss, whose least value is at a quantile (Koenker and Bassett, 1978)."""

    name: Literal["quantile"] = "quantile"
    quantile: float = Field(0.5, gt=0, lt=1, description="0.5 is the median.")


AnyDistance = Annotated[Squared | Huber | Quantile, Field(discriminator="name")]


class Labels(LossSpec):
    """Match the labels of the data.

    Cross-entropy for classes, Bernoulli log loss of each label for multi-label, a distance to the
    target for regression.
    """

    loss: Literal["labels"] = "labels"
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the target spread evenly over all classes; of each label, over yes "
        "and no. Not for regression.",
    )
    distance: AnyDistance = Field(Squared(), description="For regression alone.")

    reads_teacher: ClassVar[bool] = False


class SoftTargets(LossSpec):
    """Match the teacher's softened class probabilities (Hinton et al., 2015)."""

    loss: Literal["soft_targets"] = "soft_targets"
    temperature: Temperature = 4.0

    tasks: ClassVar[tuple[Task, ...]] = WITH_CLASSES

    @property
    def prefers_dense_logits(self) -> bool:
        return self.temperature > 1


class LogitMse(LossSpec):
    """Match the teacher's logits, or its predictions, by squared error (Ba and Caruana, 2014)."""

    loss: Literal["logit_mse"] = "logit_mse"

    needs_dense_logits: ClassVar[bool] = True  # logits have a level, log-probabilities another


class ReverseKl(LossSpec):
    """KL(student || teacher), which seeks the teacher's modes (Gu et al., 2024, MiniLLM)."""

    loss: Literal["reverse_kl"] = "reverse_kl"
    temperature: Temperature = 4.0

    tasks: ClassVar[tuple[Task, ...]] = WITH_CLASSES

    @property
    def prefers_dense_logits(self) -> bool:
        return self.temperature > 1


class JensenShannon(LossSpec):
    """The generalised Jensen-Shannon divergence (Agarwal et al., 2024, GKD)."""

    loss: Literal["jensen_shannon"] = "jensen_shannon"
    temperature: Temperature = 4.0
    beta: float = Field(
        0.5, gt=0, lt=1, description="Share of the teacher in the mixture; the paper's beta."
    )

    tasks: ClassVar[tuple[Task, ...]] = WITH_CLASSES

    @property
    def prefers_dense_logits(self) -> bool:
        return self.temperature > 1


class Decoupled(LossSpec):
    """Match the target class and the others apart (Zhao et al., 2022, DKD)."""

    loss: Literal["decoupled"] = "decoupled"
    temperature: Temperature = 4.0
    target_weight: float = Field(
        1.0, ge=0, le=1000, description="Of the target class against the rest; the paper's alpha."
    )
    other_weight: float = Field(
        8.0, ge=0, le=1000, description="Of the other classes among each other; the paper's beta."
    )

    tasks: ClassVar[tuple[Task, ...]] = ONE_OF_SEVERAL
    least_classes: ClassVar[int] = 3
    needs_dense_logits: ClassVar[bool] = True  # of the classes besides the right one


class LogitStandardized(LossSpec):
    """Soft targets of z-scored logits (Sun et al., 2024, LSKD)."""

    loss: Literal["logit_standardized"] = "logit_standardized"
    temperature: Temperature = 2.0

    tasks: ClassVar[tuple[Task, ...]] = ONE_OF_SEVERAL
    least_classes: ClassVar[int] = 3
    needs_dense_logits: ClassVar[bool] = True  # mean and deviation are of all logits


class Dist(LossSpec):
    """Correlate with the teacher between classes and within each class (Huang et al., 2022)."""

    loss: Literal["dist"] = "dist"
    temperature: Temperature = 1.0
    between_weight: float = Field(
        1.0, ge=0, le=1000, description="Of the relation between classes; the paper's beta."
    )
    within_weight: float = Field(
        1.0, ge=0, le=1000, description="Of the relation within a class; the paper's gamma."
    )

    tasks: ClassVar[tuple[Task, ...]] = ONE_OF_SEVERAL
    least_classes: ClassVar[int] = 3
    relates_examples: ClassVar[bool] = True
    needs_dense_logits: ClassVar[bool] = True  # within a class, most examples have it in the rest


class MultiLevel(LossSpec):
    """Match instances, batch and classes at several temperatures (Jin et al., 2023, MLKD)."""

    loss: Literal["multi_level"] = "multi_level"
    temperatures: list[Temperature] = Field(
        default=[2.0, 3.0, 4.0, 5.0, 6.0], min_length=1, max_length=16
    )

    tasks: ClassVar[tuple[Task, ...]] = ONE_OF_SEVERAL
    relates_examples: ClassVar[bool] = True
    needs_dense_logits: ClassVar[bool] = True  # relations of classes are of every class
