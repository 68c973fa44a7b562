"""The pipeline of docs/continuous-integration.md distils as the page says."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.house import House

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "continuous-integration.md").read_text()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Give a folder with what the page says that a repository has."""
    folder = tmp_path / "repository"
    folder.mkdir()
    shutil.copy(DOCS / "examples" / "distil.sh", folder)
    shutil.copy(DOCS / "examples" / "digits.json", folder / "distil.json")
    return folder


def run(house: House, repository: Path) -> subprocess.CompletedProcess[str]:
    """Run the workflow's one command, with the environment that it gives."""
    (commands,) = re.findall(r"```\n(stillhouse .*?)```", PAGE, re.DOTALL)
    key = house.run(*shlex.split(commands)[1:]).split()[-1]
    (workflow,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (step,) = (one for one in yaml.safe_load(workflow)["jobs"]["distil"]["steps"] if "run" in one)
    values = {
        "vars.STILLHOUSE_URL": str(house.client.base_url).rstrip("/"),
        "secrets.STILLHOUSE_API_KEY": key,
        "github.run_id": "17",
    }
    given = {name: values[value.strip("${} ")] for name, value in step["env"].items()}
    return subprocess.run(
        ["/bin/bash", "-c", step["run"]],
        cwd=repository,
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_leaves_a_verified_student_and_fails_where_nothing_was_gained(
    small_house: House, repository: Path
) -> None:
    done = run(small_house, repository)

    job = small_house.job(done.stdout.splitlines()[0].rsplit("/", 1)[1])
    assert job["status"] == "succeeded", done.stdout + done.stderr
    gained = job["result"]["gain_interval"]["low"] > 0
    assert done.returncode == (0 if gained else 1), done.stdout + done.stderr
    assert ("that may be chance" in done.stderr) is not gained
    assert "succeeded: exporting" in done.stdout
    assert "student.onnx: OK" in done.stdout
    assert f"gain {job['result']['gain']}, between" in done.stdout
    assert (repository / "student.onnx").stat().st_size > 1000

    again = run(small_house, repository)
    assert again.stdout.splitlines()[0] == done.stdout.splitlines()[0]
    assert again.returncode == done.returncode


def test_it_says_what_is_wrong_with_a_spec(small_house: House, repository: Path) -> None:
    spec = json.loads((repository / "distil.json").read_text())
    spec["objective"][0]["loss"] = "soft_target"
    (repository / "distil.json").write_text(json.dumps(spec))

    done = run(small_house, repository)

    assert done.returncode == 1
    assert "soft_targets" in done.stderr
    assert small_house.client.get("/v1/distillation/jobs").json()["data"] == []
    assert not (repository / "student.onnx").exists()
