"""`stillhouse models alias` against a served API."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from app.cli.client import Service
from app.cli.download import download
from tests.unit.app.conftest import spec
from tests.unit.app.served import Served, report, serve


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture(autouse=True)
def _known_service(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STILLHOUSE_URL", served.url)
    monkeypatch.setenv("STILLHOUSE_API_KEY", served.key_file.read_text())


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def publish(served: Served, folder: Path, content: str, name: str = "digits") -> None:
    """Let a job of that name deliver a file."""
    path = folder / f"{content}.json"
    path.write_text(json.dumps(spec(name=name)))
    assert run("jobs", "create", str(path)).exit_code == 0
    config = folder / content / "student" / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text(content)
    served.succeed(served.claim(), folder / content, report())


def test_an_alias_is_made_moved_downloaded_by_and_removed(served: Served, tmp_path: Path) -> None:
    for content in ("first", "second"):
        publish(served, tmp_path, content)

    assert "digits@production is version 1, model-" in run(*MOVE, "1").stdout
    assert "by move 2" in run(*MOVE, "2", "--if-move", "1").stdout
    late = run(*MOVE, "1", "--if-move", "1")
    assert (late.exit_code, "HTTP 412" in late.stderr) == (1, True)

    assert "digits@production" in run("models", "alias", "list").stdout
    named = run("models", "alias", "list", "--name", "digits", "--json").stdout
    assert [(one["id"], one["version"]) for one in json.loads(named)["data"]] == [
        ("digits@production", 2)
    ]
    for alias, content in [("digits@production", "second"), ("digits@1", "first")]:
        assert run("download", alias, content).exit_code == 0
        assert (tmp_path / content / "config.json").read_text() == content

    assert "is removed" in run("models", "alias", "remove", "digits@production").stdout
    assert json.loads(run("models", "alias", "list", "--json").stdout)["data"] == []


def test_a_download_is_of_one_version_though_its_alias_moves_meanwhile(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content in ("earlier", "later"):
        publish(served, tmp_path, content, "moving")
    assert run("models", "alias", "move", "moving@production", "1").exit_code == 0

    def move_and_download(service: Service, *rest: Any) -> bool:  # noqa: ANN401 (as it has them)
        service.put("/v1/model_aliases/moving@production", b'{"version": 2}', None)
        return download(service, *rest)

    monkeypatch.setattr("app.cli.files.download", move_and_download)
    done = run("download", "moving@production", "got")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "got" / "config.json").read_text() == "earlier"


MOVE = ("models", "alias", "move", "digits@production")
