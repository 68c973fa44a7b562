"""`stillhouse models register` and `delete` against a served API."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from tests.unit.app.served import Served, serve
from tests.unit.app.teachers import DIGITS, weights_of


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    with serve(tmp_path) as running:
        for name, value in running.variables.items():
            monkeypatch.setenv(name, value)
        yield running


def test_a_teacher_is_brought_listed_and_deleted(served: Served, tmp_path: Path) -> None:
    weights, about = tmp_path / "model.safetensors", tmp_path / "about.json"
    weights.write_bytes(weights_of())
    about.write_text(json.dumps({**DIGITS, "name": "mine"}))

    model_id = run("models", "register", weights, about).stdout.strip()
    shown = json.loads(run("models", "register", weights, about, "--json").stdout)

    assert model_id.startswith("model-")
    assert (shown["name"], shown["version"]) == ("mine", 2)
    listed = run("models", "list").stdout
    assert model_id in listed
    assert run("models", "delete", "mine@2").stdout == f"{shown['id']} is deleted\n"
    assert shown["id"] not in run("models", "list").stdout


def test_what_is_wrong_with_a_teacher_is_told(served: Served, tmp_path: Path) -> None:
    weights, about = tmp_path / "model.safetensors", tmp_path / "about.json"
    weights.write_bytes(b"PK\x03\x04")
    for content, words in (
        (json.dumps(DIGITS), "/weights: the file starts with 50 4b 03 04"),
        ("[]", "expected a JSON object"),
        ("{", "is no JSON"),
    ):
        about.write_text(content)
        answer = run("models", "register", weights, about)
        assert answer.exit_code != 0
        assert words in " ".join(answer.stderr.replace("│", " ").split())
