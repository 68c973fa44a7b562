"""Tells which jobs would collect the same knowledge, before any of them has run."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from app.contracts.job import JobSpec
from app.contracts.knowledge import KNOWLEDGE_FORMAT, kept_as, views_of
from app.contracts.known_data import input_shape
from app.contracts.layer_names import LayerNameError, matching
from app.contracts.layers import layers_of
from app.contracts.model import AnyArchitecture, Ensemble, SignalsTeacher


@dataclass(frozen=True)
class TeacherDigests:
    """sha256 of the two files that a model is loaded from."""

    config: str
    weights: str


@dataclass(frozen=True)
class Sources:
    """What the names in a spec stand for: the bytes, by their sha256, and what they are of."""

    data: Mapping[str, str]
    """Of the data's files, by the fields that name them; none of data that ships."""
    teachers: Sequence[TeacherDigests]
    """In the order of the spec; none where signals were uploaded."""
    signals: str | None
    """Of the uploaded file."""
    architecture: AnyArchitecture | None
    """Of a single teacher."""


def is_shared(spec: JobSpec) -> bool:
    """Say whether the knowledge that a job collects is its teacher's own, and other jobs' too.

    With assistants or generations the last of them is asked; a peer is asked as it learns.
    """
    collects = spec.teacher.source in {"train", "model", "ensemble", "signals"}
    return collects and not spec.assistants and spec.generations == 1


def knowledge_request(spec: JobSpec, sources: Sources, num_outputs: int) -> str:
    """Return a digest, equal for two jobs if and only if they would collect the same knowledge.

    ``num_outputs`` are the classes, labels or targets that the teacher answers with.
    """
    storage, top_k = kept_as(spec.knowledge, spec.dataset.task, num_outputs, spec.objective)
    training = spec.training
    request: dict[str, JsonValue] = {
        "format": KNOWLEDGE_FORMAT,
        "dataset": _dataset(spec, sources),
        "teacher": _teacher(spec, sources),
        "views": views_of(training),
        # Only with augmentation is each epoch's view another.
        "epochs": training.epochs if training.augmentation else None,
        "precision": training.precision,
        "layers": list(_layers(spec, sources)),
        "storage": storage,
        "top_k": top_k,
    }
    text = json.dumps(request, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _dataset(spec: JobSpec, sources: Sources) -> JsonValue:
    told = spec.dataset.model_dump(mode="json", exclude={"validation_file", "test_file"})
    # Of data that ships, too: what was published under a digest shall still be found.
    return told | {"file": None} | dict(sources.data)


def _teacher(spec: JobSpec, sources: Sources) -> JsonValue:
    models: list[JsonValue] = [[each.config, each.weights] for each in sources.teachers]
    if isinstance(spec.teacher, Ensemble):
        weights: list[JsonValue] = [member.weight for member in spec.teacher.members]
        return {"models": models, "weights": weights, "mean": spec.teacher.mean}
    if isinstance(spec.teacher, SignalsTeacher):
        return {"signals": sources.signals, "values": spec.teacher.values}
    return {"models": models}


def _layers(spec: JobSpec, sources: Sources) -> list[str]:
    """Return the teacher's layers that are kept, globs written out, each once."""
    if sources.architecture is None:
        return []
    names = list(layers_of(sources.architecture, input_shape(spec.dataset)))
    found: set[str] = set()
    for loss in spec.objective:
        for pair in loss.pairs():
            try:
                found.update(matching(pair.teacher, names, "teacher"))
            except LayerNameError:
                # The engine refuses it, with a better message than could be given here.
                found.add(pair.teacher)
    return sorted(found)
