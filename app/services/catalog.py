"""What a spec may name: read off the contracts, so that there is no second list."""

import re
from typing import Any, get_args

from pydantic import BaseModel

from app.contracts import known_data
from app.contracts.catalog import Architecture, Dataset, Loss
from app.contracts.dataset import AnyFormat, Builtin
from app.contracts.loss import FeatureLossSpec, LossSpec
from app.contracts.model import AnyArchitecture
from app.contracts.objective import AnyLoss
from app.contracts.registry import Page

PAPER = re.compile(r"\(([^()]*\b(?:19|20)\d\d\b[^()]*)\)")
ONE_NAME = re.compile(r"`(\w+)`: ([^;]+)")


def architectures() -> Page[Architecture]:
    return _page(
        [Architecture(**_described(contract, "name")) for contract in _variants(AnyArchitecture)]
    )


def losses() -> Page[Loss]:
    return _page(
        [
            Loss(
                **_described(contract, "loss"),
                tasks=list(contract.tasks),
                reads_teacher=contract.reads_teacher,
                reads_layers=issubclass(contract, FeatureLossSpec)
                or "layers" in contract.model_fields,
            )
            for contract in _variants(AnyLoss)
            if issubclass(contract, LossSpec)
        ]
    )


def datasets() -> Page[Dataset]:
    """List the built-in data, then the formats of uploaded files."""
    return _page([*_builtins(), *(_format(contract) for contract in _variants(AnyFormat))])


def _builtins() -> list[Dataset]:
    field = Builtin.model_fields["name"]
    sentences = dict(ONE_NAME.findall(field.description or ""))
    shared = _described(Builtin, "source")
    entries = []
    for name in get_args(field.annotation):
        dataset = Builtin(name=name)
        shape = [size for size in known_data.input_shape(dataset) if size is not None]
        entries.append(
            Dataset(
                **{**shared, "name": name, "description": sentences[name].rstrip(".")},
                source="builtin",
                tasks=[dataset.task],
                input_shape=shape,
                output_names=known_data.output_names(dataset),
            )
        )
    return entries


def _format(contract: type[Any]) -> Dataset:
    task = contract.model_fields.get("task")
    tasks = get_args(task.annotation) if task else [contract.model_construct().task]
    return Dataset(
        **_described(contract, "name"),
        source="file",
        tasks=list(tasks),
        input_shape=None,
        output_names=None,
    )


def _described(contract: type[BaseModel], tag: str) -> dict[str, Any]:
    text = " ".join((contract.__doc__ or "").split())
    paper = PAPER.search(text)
    return {
        "name": contract.model_fields[tag].default,
        "description": text.replace("``", "`"),
        "paper": paper[1] if paper else None,
        "settings_schema": contract.model_json_schema(),
        # Without the fields that must be given, which have none.
        "defaults": contract.model_construct().model_dump(mode="json", exclude={tag}),
    }


def _variants(union: Any) -> list[type[Any]]:  # noqa: ANN401 (an annotated union has no type)
    return list(get_args(get_args(union)[0]))


def _page(entries: list[Any]) -> Page[Any]:
    ids = [entry.name for entry in entries]
    return Page(data=entries, first_id=ids[0], last_id=ids[-1], has_more=False)
