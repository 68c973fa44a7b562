"""The examples of docs/access.md work as printed; an address is the network's own."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.pages import examples, run_bash
from tests.unit.app.served import serve

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "access.md").read_text()
(SESSION,) = examples("docs/access.md")
COMMANDS = re.findall(r"^stillhouse (.+)$", TEXT, re.MULTILINE)
FORWARDED = {"X-Forwarded-For": "203.0.113.7, 198.51.100.9"}


def test_the_documented_session_makes_a_project_for_a_team(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        printed = run_bash(SESSION, served.variables)
    # Each answer is a line of its own only by its own end.
    usage, project, entries = map(json.loads, printed.replace("}{", "}\n{").splitlines())

    assert usage["running_jobs"] == {"used": 0, "most": 2}
    assert usage["project_id"] == project["id"]
    assert project["quotas"]["queued_jobs"] is None
    assert project["quotas"]["running_jobs"] == 2
    assert [entry["target_id"] for entry in entries["data"]] == [project["id"]]


def test_the_documented_commands_do_the_same_without_a_key(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        environment = os.environ | {
            "STILLHOUSE_DATABASE_URL": f"sqlite:///{tmp_path}/test.db",
            "STILLHOUSE_PEPPER_FILE": str(tmp_path / "pepper"),
            "COLUMNS": "200",
        }
        printed = [
            subprocess.run(
                [sys.executable, "-m", "app.cli", *shlex.split(command)],
                env=environment,
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            for command in COMMANDS
        ]
        key = {"Authorization": f"Bearer {printed[1].strip()}"}
        usage = httpx2.get(f"{served.url}/v1/usage", headers=key).json()

    assert len(COMMANDS) == 4
    assert usage["queued_jobs"] == {"used": 0, "most": None}
    assert usage["running_jobs"] == {"used": 0, "most": 2}
    assert "0 of 2" in printed[3]


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ([], "127.0.0.1"),
        (["--behind-tls-proxy"], "127.0.0.1"),
        (["--behind-tls-proxy", "--trusted-proxy", "127.0.0.1"], "198.51.100.9"),
        (["--trusted-proxy", "127.0.0.1", "--trusted-proxy", "198.51.100.0/24"], "203.0.113.7"),
    ],
    ids=str,
)
def test_an_address_is_the_connections_unless_the_proxy_is_trusted(
    tmp_path: Path, options: list[str], address: str
) -> None:
    with serve(tmp_path, *options) as served:
        key = {"Authorization": f"Bearer {served.key_file.read_text()}"}
        body = {"name": "new", "scopes": ["jobs:read"]}
        made = httpx2.post(f"{served.url}/v1/api_keys", json=body, headers=key | FORWARDED)
        assert made.status_code == 201
        entries = httpx2.get(f"{served.url}/v1/audit", headers=key).json()["data"]

    assert entries[0]["address"] == address
