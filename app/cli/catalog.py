"""`stillhouse architectures` and `stillhouse losses`: what a spec may name."""

import json
from collections.abc import Mapping

from pydantic import JsonValue
from rich.console import Console
from rich.table import Column, Table

from app.cli import options
from app.cli.client import connect, print_json
from app.contracts.catalog import Architecture, Loss
from app.contracts.registry import Page

console = Console(soft_wrap=True)


def architectures(
    url: options.Url = None,
    key_file: options.KeyFile = None,
    *,
    as_json: options.Json = False,
) -> None:
    """List the architectures that a teacher or student may have."""
    with connect(url, key_file) as service:
        response = service.get("/v1/architectures")
    if as_json:
        print_json(response)
        return
    table = Table(Column("architecture", no_wrap=True), "defaults", "what it is")
    for one in Page[Architecture].model_validate_json(response.content).data:
        table.add_row(one.name, _settings(one.defaults), one.description)
    console.print(table)


def losses(
    url: options.Url = None,
    key_file: options.KeyFile = None,
    *,
    as_json: options.Json = False,
) -> None:
    """List the losses that an objective may sum."""
    with connect(url, key_file) as service:
        response = service.get("/v1/losses")
    if as_json:
        print_json(response)
        return
    table = Table(Column("loss", no_wrap=True), "reads", "for", "what it is")
    for one in Page[Loss].model_validate_json(response.content).data:
        reads = "layers" if one.reads_layers else "answers" if one.reads_teacher else "labels"
        table.add_row(one.name, reads, ", ".join(one.tasks), one.description)
    console.print(table)


def _settings(defaults: Mapping[str, JsonValue]) -> str:
    return "\n".join(f"{name}: {json.dumps(value)}" for name, value in defaults.items())
