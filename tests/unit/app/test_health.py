"""Health, readiness, the API's description, and what the process loads."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.config import Settings
from app.db import schema
from app.main import create_app
from tests.unit.app.conftest import NOBODY, Api, settings

ROOT = Path(__file__).parents[3]


@contextmanager
def migrated(made: Settings) -> Iterator[TestClient]:
    app = create_app(made)
    schema.upgrade(app.state.parts.database)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_it_is_ready_when_database_queue_and_storage_answer(
    tmp_path: Path, broker_url: str
) -> None:
    with migrated(settings(tmp_path, broker_url=broker_url)) as client:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_it_is_not_ready_without_the_queue_and_says_so(tmp_path: Path) -> None:
    with migrated(settings(tmp_path, broker_url=NOBODY)) as client:
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["error"]["param"] == "queue"
        assert answer.headers["Retry-After"]


def test_it_is_not_ready_before_the_migrations_and_makes_no_tables(
    tmp_path: Path, broker_url: str
) -> None:
    app = create_app(settings(tmp_path, broker_url=broker_url))
    with TestClient(app) as client:
        answer = client.get("/readyz").json()
        assert answer["error"]["param"] == "database"
        assert "stillhouse migrate" in answer["detail"]
        assert not schema.is_current(app.state.parts.database)


def test_it_is_not_ready_without_a_database(tmp_path: Path, broker_url: str) -> None:
    nowhere = f"sqlite:///{tmp_path}/missing/test.db"
    app = create_app(settings(tmp_path, broker_url=broker_url, database_url=nowhere))
    with TestClient(app) as client:
        answer = client.get("/readyz").json()
        assert answer["error"]["param"] == "database"
        assert "does not answer" in answer["detail"]


@pytest.mark.slow
def test_it_is_not_ready_without_storage(
    tmp_path: Path, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with migrated(settings(tmp_path, broker_url=broker_url, storage_url="s3://b/p")) as client:
        assert client.get("/readyz").json()["error"]["param"] == "storage"


def test_it_lives_whatever_else_is_down(api: Api) -> None:
    assert api.client.get("/healthz").json() == {"status": "ok"}


def test_every_route_is_described_with_the_body_of_its_errors(api: Api) -> None:
    document = api.client.get("/openapi.json").json()
    operations = [one for path in document["paths"].values() for one in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids) > 20
    for operation in operations:
        assert operation["operationId"].isidentifier()
        assert operation["summary"]
        for status in ("4XX", "5XX"):
            content = operation["responses"][status]["content"]
            assert content == {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}
            }
    assert document["paths"]["/v1/files"]["post"]["security"] == [{"HTTPBearer": []}]


def test_every_reference_in_the_description_leads_somewhere(api: Api) -> None:
    document = api.client.get("/openapi.json").json()

    def references(node: Any) -> Iterator[str]:  # noqa: ANN401 (any JSON)
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    schemas = document["components"]["schemas"]
    found = set(references(document))
    assert len(found) > 20
    assert {one.removeprefix("#/components/schemas/") for one in found} <= schemas.keys()


@pytest.mark.slow
def test_the_api_opens_from_the_environment_and_loads_no_engine(tmp_path: Path) -> None:
    code = (
        "import sys; from app.main import create_app; create_app().openapi();"
        "sys.exit(' '.join({'torch', 'numpy', 'sklearn', 'worker'} & set(sys.modules)) or 0)"
    )
    environment = {
        **os.environ,
        "STILLHOUSE_DATABASE_URL": f"sqlite:///{tmp_path}/test.db",
        "STILLHOUSE_STORAGE_URL": str(tmp_path / "blobs"),
        "STILLHOUSE_PEPPER_FILE": str(tmp_path / "pepper"),
        "STILLHOUSE_BROKER_URL": NOBODY,
    }
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, check=False, capture_output=True
    )
    assert run.returncode == 0, run.stderr.decode()
    assert (tmp_path / "pepper").exists()
