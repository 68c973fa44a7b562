"""Commands that run the service or keep its keys, as an operator types them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.db import schema
from app.db.session import Database
from app.errors import Unauthorized
from app.services.keys import authenticate, load_pepper


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Give an empty database that the commands are pointed at."""
    url = f"sqlite:///{tmp_path}/test.db"
    monkeypatch.setenv("STILLHOUSE_DATABASE_URL", url)
    monkeypatch.setenv("STILLHOUSE_PEPPER_FILE", str(tmp_path / "pepper"))
    return Database(url)


def run(*arguments: str, exit_code: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == exit_code, done.output
    return done.output


def test_migrating_makes_the_tables_and_may_be_repeated(database: Database) -> None:
    run("migrate")
    run("migrate")

    assert schema.is_current(database)
    database.close()


def test_a_key_works_until_it_is_revoked(database: Database, tmp_path: Path) -> None:
    run("migrate")
    secret = run("keys", "create", "mine", "--scope", "jobs:read", "--days", "2").strip()

    identity = authenticate(database, load_pepper(tmp_path / "pepper"), secret)
    assert identity.scopes == {"jobs:read"}
    listed = run("keys", "list")
    assert identity.key_id in listed
    assert secret not in listed

    run("keys", "revoke", identity.key_id)
    with pytest.raises(Unauthorized, match="revoked"):
        authenticate(database, load_pepper(tmp_path / "pepper"), secret)
    database.close()


def test_a_key_of_another_project_cannot_be_revoked_by_mistake(
    database: Database, tmp_path: Path
) -> None:
    run("migrate")
    secret = run("keys", "create", "mine").strip()
    run("keys", "create", "theirs", "--project", "other")
    pepper = load_pepper(tmp_path / "pepper")
    key_id = authenticate(database, pepper, secret).key_id

    assert "no API key" in run("keys", "revoke", key_id, "--project", "other", exit_code=1)
    assert "no project 'nobody'" in run("keys", "list", "--project", "nobody", exit_code=1)
    assert authenticate(database, pepper, secret).key_id == key_id
    database.close()


def test_an_unknown_scope_is_refused_with_those_there_are(database: Database) -> None:
    assert "jobs:read" in run("keys", "create", "x", "--scope", "jobs", exit_code=2)
    database.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])  # noqa: S104 (to be refused)
def test_the_api_is_not_shown_to_a_network_without_tls(host: str) -> None:
    assert "--behind-tls-proxy" in run("api", "--host", host, exit_code=2)


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    certificate.touch()

    assert "go together" in run("api", "--tls-cert", str(certificate), exit_code=2)
