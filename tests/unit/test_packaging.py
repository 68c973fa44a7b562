"""What is shipped beside the code agrees with the code."""

import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from prometheus_client import REGISTRY, CollectorRegistry
from typer.core import TyperGroup
from typer.main import get_command

from app.cli import app
from app.config import ClientSettings, Settings
from app.contracts.job import JobSpec
from app.db.session import Database
from app.db.table import Table
from app.metrics import Metrics
from app.services.figures import Figures

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PARTS = {n: s for n, s in COMPOSE["services"].items() if s["image"] == "stillhouse"}
SETTINGS = {
    f"STILLHOUSE_{name.upper()}"
    for settings in (Settings, ClientSettings)
    for name in settings.model_fields
}


def parse(arguments: list[str]) -> None:
    """Parse a command line of `stillhouse` without running it; what is wrong raises."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    name, *rest = arguments
    group.commands[name].make_context(name, rest)


def test_the_compose_file_keeps_to_the_schema() -> None:
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run(
        [sys.executable, *command, "docker-compose.yml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("service", PARTS)
def test_each_command_in_the_compose_file_exists(service: str) -> None:
    parse(PARTS[service]["command"])


def test_the_compose_file_runs_every_part() -> None:
    assert {part["command"][0] for part in PARTS.values()} == {
        "api",
        "deliverer",
        "migrate",
        "reconciler",
        "worker",
    }


@pytest.mark.parametrize("name", ["docker-compose.yml", "Dockerfile", "README.md"])
def test_each_variable_that_is_named_is_a_setting(name: str) -> None:
    named = set(re.findall(r"STILLHOUSE_[A-Z_]+[A-Z]", (ROOT / name).read_text()))

    assert named
    assert named <= SETTINGS


def test_the_readme_has_one_row_for_each_setting() -> None:
    text = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| `(STILLHOUSE_[A-Z_]+)` \|", text, re.MULTILINE)

    assert sorted(rows) == sorted(SETTINGS)


def test_each_dependency_is_pinned_within_its_range() -> None:
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    )
    wanted = PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]
    for requirement in map(Requirement, wanted):
        pin = pins[canonicalize_name(requirement.name)]
        assert pin in requirement.specifier, f"{requirement} does not allow {pin}"


def test_no_pin_is_of_one_machines_build() -> None:
    assert "+" not in (ROOT / "constraints.txt").read_text()


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs/examples").glob("*.json")), ids=lambda p: p.name
)
def test_each_sample_is_a_job_spec(path: Path) -> None:
    JobSpec.model_validate(json.loads(path.read_text()))


def test_make_help_names_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    told = subprocess.run(
        ["/usr/bin/env", "make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert set(re.findall(r"make ([a-z-]+) ", told.stdout)) == set(phony[1].split())


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_each_command_in_the_documents_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    lines = re.findall(r"^stillhouse (.+)$", text, re.MULTILINE)
    # Alone on a line or in a code span; elsewhere "make" is a word.
    makes = re.findall(r"(?:^|`)make ([a-z-]+)(?:$|`)", text, re.MULTILINE)

    assert makes
    for line in lines:
        group, *rest = line.split()
        commands = get_command(app)
        assert isinstance(commands, TyperGroup)
        command = commands.commands[group]
        if isinstance(command, TyperGroup):
            assert rest[0] in command.commands
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(makes) <= set(targets)


def test_the_docs_have_one_row_for_each_figure(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "observability.md").read_text()
    rows = dict(re.findall(r"^\| `(stillhouse_[a-z_]+)` \| (API|worker) \|", text, re.MULTILINE))
    api = Metrics().registry
    database = Database(f"sqlite:///{tmp_path}/test.db")
    Table.metadata.create_all(database.engine)
    Figures(database, api)
    importlib.import_module("worker.observation")

    def names(registry: CollectorRegistry) -> set[str]:
        families = (one for one in registry.collect() if one.name.startswith("stillhouse_"))
        return {f"{one.name}_total" if one.type == "counter" else one.name for one in families}

    assert {name for name, where in rows.items() if where == "API"} == names(api)
    assert {name for name, where in rows.items() if where == "worker"} == names(REGISTRY)
    database.close()
