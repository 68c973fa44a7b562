"""The objective: losses that a spec may sum.

The engine runs each from the module of the same name in ``worker/distillation/losses``.
"""

from typing import Annotated

from pydantic import Field

from app.contracts.feature_losses import (
    ActivationBoundary,
    Attention,
    Contrastive,
    Correlation,
    Embedding,
    Factor,
    Flow,
    Hints,
    Nst,
    Pkt,
    Relational,
    Review,
    Similarity,
    Vid,
)
from app.contracts.response_losses import (
    Decoupled,
    Dist,
    JensenShannon,
    Labels,
    LogitMse,
    LogitStandardized,
    MultiLevel,
    ReverseKl,
    SoftTargets,
)

AnyLoss = Annotated[
    Labels
    | SoftTargets
    | LogitMse
    | ReverseKl
    | JensenShannon
    | Decoupled
    | LogitStandardized
    | Dist
    | MultiLevel
    | Hints
    | Attention
    | Similarity
    | Correlation
    | Vid
    | Pkt
    | Nst
    | Factor
    | ActivationBoundary
    | Flow
    | Review
    | Embedding
    | Relational
    | Contrastive,
    Field(discriminator="loss"),
]
