"""Commands that run the service or keep its keys, as an operator types them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.contracts.requests import PROJECT_SCOPES, SCOPES
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
    return done.output if exit_code else done.stdout


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


@pytest.mark.parametrize(
    "arguments",
    [
        ("", "--project", "vision"),
        ("x" * 201,),
        ("mine", "--project", "a b"),
        ("mine", "--project", ""),
        ("mine", "--days", "99999999999"),
    ],
)
def test_a_key_that_the_api_would_not_make_is_not_made_here_either(
    database: Database, arguments: tuple[str, ...]
) -> None:
    run("migrate")
    assert "Invalid value" in run("keys", "create", *arguments, exit_code=2)
    assert "proj-" not in run("projects", "list")
    database.close()


def test_a_project_that_is_new_is_said_to_be(database: Database) -> None:
    run("migrate")
    for told in (["There was no project 'vision'; it was made."], []):
        done = CliRunner().invoke(app, ["keys", "create", "mine", "--project", "vision"])
        assert (done.exit_code, done.stderr.splitlines()) == (0, told)
        assert done.stdout.startswith("shk_")
    database.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])  # noqa: S104 (to be refused)
def test_the_api_is_not_shown_to_a_network_without_tls(host: str) -> None:
    assert "--behind-tls-proxy" in run("api", "--host", host, exit_code=2)


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    certificate.touch()

    assert "go together" in run("api", "--tls-cert", str(certificate), exit_code=2)


def test_a_key_manages_projects_only_where_its_maker_says_so(
    database: Database, tmp_path: Path
) -> None:
    run("migrate")
    pepper = load_pepper(tmp_path / "pepper")
    plain = authenticate(database, pepper, run("keys", "create", "mine").strip())
    admin = authenticate(database, pepper, run("keys", "create", "mine", "--admin").strip())
    narrow = run("keys", "create", "mine", "--admin", "--scope", "jobs:read").strip()

    assert plain.scopes == set(PROJECT_SCOPES)
    assert admin.scopes == set(SCOPES)
    assert authenticate(database, pepper, narrow).scopes == {"jobs:read", "projects:admin"}
    database.close()


def test_projects_are_made_limited_renamed_and_listed(database: Database) -> None:
    run("migrate")
    project_id = run("projects", "create", "vision", "--queued-jobs", "5").strip()
    assert project_id.startswith("proj-")
    assert "already" in run("projects", "create", "vision", exit_code=1)
    run("projects", "update", "vision", "--running-jobs", "2", "--stored-bytes", "1000")
    told = run("projects", "update", "vision", "--name", "sight", "--queued-jobs", "none")
    assert told.strip() == ('sight: {"queued_jobs":null,"running_jobs":2,"stored_bytes":1000}')

    listed = run("projects", "list")
    assert project_id in listed
    assert "0 of 2" in listed
    assert "no project" in run("projects", "update", "vision", exit_code=1)
    database.close()


@pytest.mark.parametrize("most", ["-1", "many", "1.5", str(2**63)])
def test_a_quota_that_is_no_number_is_refused(database: Database, most: str) -> None:
    assert "whole number" in run("projects", "create", "x", f"--queued-jobs={most}", exit_code=2)
    database.close()


def test_a_name_that_could_not_stand_in_an_address_is_refused(database: Database) -> None:
    run("projects", "create", "a/b", exit_code=2)
    run("projects", "update", "a", "--name", "a/b", exit_code=2)
    database.close()


@pytest.mark.parametrize("proxy", ["*", "proxy.example.com", "10.0.0.1/8", ""])
def test_a_proxy_is_trusted_by_its_address_alone(proxy: str) -> None:
    assert "--trusted-proxy" in run("api", "--trusted-proxy", proxy, exit_code=2)
