"""Losses of hidden layers and of relations between examples, one class each.

The engine runs each from the module of the same name in ``worker/distillation/losses``. Relations
between examples are of flattened image maps; an embedding of one is its mean over the image.
"""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.contracts.loss import FeatureLossSpec, LayerPair, LayerPath, LossSpec
from app.contracts.strict import Strict


class Hints(FeatureLossSpec):
    """Match the teacher's hidden features through a learned regressor (FitNets, 2015)."""

    loss: Literal["hints"] = "hints"


class Attention(FeatureLossSpec):
    """Match maps of where a layer is active (Zagoruyko and Komodakis, 2017)."""

    loss: Literal["attention"] = "attention"
    exponent: float = Field(2.0, ge=1, le=8, description="Of the activations; the paper's p.")

    maps_only: ClassVar[bool] = True


class Similarity(FeatureLossSpec):
    """Match which examples of a batch look alike to a layer (Tung and Mori, 2019)."""

    loss: Literal["similarity"] = "similarity"

    relates_examples: ClassVar[bool] = True


class Correlation(FeatureLossSpec):
    """Match the kernel correlations of the examples of a batch (Peng et al., 2019)."""

    loss: Literal["correlation"] = "correlation"
    gamma: float = Field(
        0.4, gt=0, le=100, description="Of the Gaussian kernel exp(-gamma |x - y|^2)."
    )
    order: int = Field(2, ge=1, le=8, description="Of the kernel's Taylor series.")

    relates_examples: ClassVar[bool] = True


class Vid(FeatureLossSpec):
    """Maximise the information the student keeps of the teacher (Ahn et al., 2019)."""

    loss: Literal["vid"] = "vid"


class Pkt(FeatureLossSpec):
    """Match the probabilities that one example stands for another (Passalis and Tefas, 2018)."""

    loss: Literal["pkt"] = "pkt"

    relates_examples: ClassVar[bool] = True


class Nst(FeatureLossSpec):
    """Match the distribution of neurons' selectivity (Huang and Wang, 2017)."""

    loss: Literal["nst"] = "nst"

    maps_only: ClassVar[bool] = True


class Factor(FeatureLossSpec):
    """Match factors that a paraphraser makes of the teacher (Kim et al., 2018)."""

    loss: Literal["factor"] = "factor"
    rate: float = Field(
        0.5, gt=0, le=2, description="Channels of a factor per channel of the teacher's layer."
    )

    maps_only: ClassVar[bool] = True


class ActivationBoundary(FeatureLossSpec):
    """Match which neurons fire, before their ReLU (Heo et al., 2019)."""

    loss: Literal["activation_boundary"] = "activation_boundary"
    margin: float = Field(2.0, gt=0, le=100)

    maps_only: ClassVar[bool] = True


class LayerSpan(Strict):
    """From one layer of a network to a later one."""

    first: LayerPath
    last: LayerPath


class FlowPair(Strict):
    """A span of the student that learns from a span of the teacher."""

    student: LayerSpan
    teacher: LayerSpan


class Flow(LossSpec):
    """Match how features flow from one layer to another: FSP matrices (Yim et al., 2017)."""

    loss: Literal["flow"] = "flow"
    spans: list[FlowPair] = Field(min_length=1, max_length=16)

    maps_only: ClassVar[bool] = True

    def pairs(self) -> list[LayerPair]:
        return [
            LayerPair(student=student, teacher=teacher)
            for span in self.spans
            for student, teacher in (
                (span.student.first, span.teacher.first),
                (span.student.last, span.teacher.last),
            )
        ]


class Review(FeatureLossSpec):
    """Fuse later features into earlier ones before matching them (Chen et al., 2021, ReviewKD)."""

    loss: Literal["review"] = "review"
    channels: int = Field(64, ge=1, le=4096, description="Of the maps in which features are fused.")

    maps_only: ClassVar[bool] = True


class Embedding(FeatureLossSpec):
    """Match an embedding's direction or its values (Sanh et al., 2019; Reimers et al., 2020)."""

    loss: Literal["embedding"] = "embedding"
    distance: Literal["cosine", "mse"] = "cosine"
    projection: bool = Field(
        default=True,
        description="Learn a linear projection of the student; without, sizes must agree.",
    )


class Relational(FeatureLossSpec):
    """Match distances and angles between examples (Park et al., 2019, RKD)."""

    loss: Literal["relational"] = "relational"
    distance_weight: float = Field(25.0, ge=0, le=1e6)
    angle_weight: float = Field(50.0, ge=0, le=1e6)

    relates_examples: ClassVar[bool] = True

    @model_validator(mode="after")
    def _has_a_weight(self) -> Self:
        if self.distance_weight == self.angle_weight == 0:
            raise ValueError("distance_weight and angle_weight are both 0; expected one above 0")
        return self


class Contrastive(FeatureLossSpec):
    """Tell the teacher's view of an example from its views of others (Tian et al., 2020, CRD)."""

    loss: Literal["contrastive"] = "contrastive"
    features: int = Field(128, ge=1, le=4096, description="Size of the space compared in.")
    negatives: int = Field(16_384, ge=1, le=1_000_000, description="Other examples per example.")
    temperature: float = Field(0.07, gt=0, le=100, description="Of the critic.")
    momentum: float = Field(0.5, ge=0, lt=1, description="Of the memory of features.")
