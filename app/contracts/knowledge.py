"""The teacher's knowledge: how it is kept, what it is of, and what a client sees of it."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.contracts.dataset import Task
from app.contracts.loss import LossSpec
from app.contracts.strict import Strict
from app.contracts.training import Training

KNOWLEDGE_FORMAT = 1
"""Of the files; a reader of another number does not read them."""

MOST_DENSE_OUTPUTS = 1024
"""Up to so many, `auto` keeps every output's answer."""
MANIFEST_FILE = "knowledge.json"
REUSED_FILE = "reused"
"""Lies beside the manifest where a run has taken the knowledge over, and not collected it."""

Storage = Literal["float32", "float16", "top_k"]


class KnowledgeSettings(Strict):
    """How the teacher's signals are kept."""

    storage: Literal["auto", "float32", "float16", "top_k"] = Field(
        "auto",
        description="Of answers: `float32` as the teacher gave them; `float16`; `top_k`, the most "
        "probable classes and the mass of the rest, for `soft_targets`, `reverse_kl` and "
        "`jensen_shannon`, best at temperature 1: other losses of answers look at each class. "
        "`auto` is float16 up to 1,024 outputs, and where a loss looks at each class or its "
        "temperature is above 1, else top_k.",
    )
    top_k: int = Field(32, ge=1, le=1024, description="Classes kept of an example by `top_k`.")
    max_bytes: int = Field(
        2 * 2**30,
        ge=0,
        le=2**50,
        description="The most a job's knowledge may take. Where answers and features together "
        "would take more, none are kept: the teacher runs beside the student and gives both.",
    )


def kept_as(
    settings: KnowledgeSettings, task: Task, num_outputs: int, objective: Iterable[LossSpec]
) -> tuple[Storage, int | None]:
    """Return how an objective has answers kept, and how many classes of an example by `top_k`."""
    storage: Storage = "float16" if settings.storage == "auto" else settings.storage
    many = task == "classification" and num_outputs > MOST_DENSE_OUTPUTS
    dense = any(loss.prefers_dense_logits for loss in objective)
    if settings.storage == "auto" and many and not dense:
        storage = "top_k"
    return storage, min(settings.top_k, num_outputs) if storage == "top_k" else None


class Fingerprint(BaseModel):
    """All that decides the signals: equal fingerprints, equal knowledge. Each part is readable."""

    teacher: str = Field(description="sha256 of the weights, or of the uploaded signals.")
    architecture: str
    preprocessing: str = Field(description="sha256 of the teacher's own standardisation.")
    dataset: str = Field(description="sha256 of inputs, labels, names and parts.")
    views: str = Field(description="The augmentations and the seed of the views; `plain` is none.")
    collected: str = Field(description="`answers`, and the layers whose features are kept.")
    storage: str
    precision: str = Field("float32", description="Of the teacher's forward pass.")


PLAIN_VIEWS = "plain"


def views_of(training: Training) -> str:
    """Say which views of the examples a training sees: the ``views`` of a fingerprint."""
    if not training.augmentation:
        return PLAIN_VIEWS
    augmentation = [each.model_dump(mode="json") for each in training.augmentation]
    return f"{json.dumps(augmentation)} with seed {training.seed}"


class Shard(BaseModel):
    """One file of rows."""

    path: str
    first_row: int
    num_rows: int
    sha256: str


class KnowledgeManifest(BaseModel):
    """`knowledge.json`, written last: what the shards beside it hold."""

    format: int = KNOWLEDGE_FORMAT
    fingerprint: Fingerprint
    task: Task
    output_names: list[str]
    storage: Storage
    top_k: int | None = None
    layers: dict[str, list[int]] = Field({}, description="Shapes of the features kept.")
    views: int = Field(description="Of each train example; held-out ones have one, unchanged.")
    num_train: int
    num_held_out: int
    row_bytes: int
    shards: list[Shard]

    @property
    def bytes(self) -> int:
        return self.row_bytes * (self.views * self.num_train + self.num_held_out)


class Knowledge(BaseModel):
    """Collected signals as a client sees them."""

    object: Literal["knowledge"] = "knowledge"
    id: str
    job_id: str | None = Field(description="The job that collected it; none once that is deleted.")
    fingerprint: Fingerprint
    task: Task
    output_names: list[str]
    storage: Storage
    top_k: int | None
    layers: dict[str, list[int]]
    views: int
    num_train: int
    num_held_out: int
    bytes: int
    used_by: int = Field(
        description="Jobs that name or use it and have not ended; it is kept for them."
    )
    created_at: datetime
