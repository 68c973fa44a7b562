"""`stillhouse webhooks` against a served API."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from tests.unit.app.served import Served, serve

URL = "https://hooks.example.com/"


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
    return CliRunner().invoke(app, ["webhooks", *arguments], catch_exceptions=False)


def test_a_webhook_is_made_listed_tried_out_rotated_and_deleted() -> None:
    options = ["--event", "distillation.job.failed", "--description", "pager"]
    made = run("create", URL, *options)
    webhook, secret = made.stdout.split()
    assert secret.startswith("whsec_")
    shown = run("list").stdout
    assert webhook in shown
    assert "enabled" in shown
    (listed,) = json.loads(run("list", "--json").stdout)["data"]
    assert (listed["id"], listed["description"]) == (webhook, "pager")
    assert listed["event_types"] == ["distillation.job.failed"]

    delivery = run("test", webhook).stdout.strip()
    shown = run("deliveries", webhook).stdout
    assert delivery in shown
    assert "pending" in shown
    (sent,) = json.loads(run("deliveries", webhook, "--json").stdout)["data"]
    assert (sent["id"], sent["event_type"]) == (delivery, "webhook.test")

    new = run("rotate", webhook, "--overlap-hours", "0.5").stdout.strip()
    assert new.startswith("whsec_")
    assert new != secret
    assert "is deleted" in run("delete", webhook).stdout
    assert json.loads(run("list", "--json").stdout)["data"] == []


def test_a_url_that_is_not_sent_to_is_refused_with_its_reason() -> None:
    refused = run("create", "https://169.254.169.254/")
    assert refused.exit_code == 1
    assert "/url: the host's address is not on the public internet" in refused.stderr
