"""Every example of docs/jobs-api.md runs as it is printed."""

import os
import re
import subprocess
from pathlib import Path

import httpx2

from tests.jobs import SPEC
from tests.unit.app.conftest import JOBS
from tests.unit.app.served import serve

PAGE = Path(__file__).parents[3] / "docs" / "jobs-api.md"


def test_the_examples_run_and_do_what_the_page_says(tmp_path: Path) -> None:
    first, *examples = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    with serve(tmp_path) as served:
        key = served.key_file.read_text()
        headers = {"Authorization": f"Bearer {key}"}
        body = SPEC.model_dump(mode="json")
        job = httpx2.post(f"{served.url}{JOBS}", json=body, headers=headers).json()["id"]
        environment = {"STILLHOUSE_URL": served.url, "STILLHOUSE_API_KEY": key, "JOB": job}
        told = []
        for example in examples:
            done = subprocess.run(
                ["/bin/bash", "-euo", "pipefail", "-c", first + example],
                env=os.environ | environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, example + done.stdout + done.stderr
            told.append(done.stdout)
    edit, conditional, find, wait, stream, rest, metrics, catalog, queue = told
    assert '"priority":5' in edit
    assert '"name":"digits-8"' in conditional
    assert find.count(job) >= 2
    assert '"version":3' in wait
    assert [line for line in stream.splitlines() if line.startswith("id:")] == [
        "id: 1",
        "id: 2",
        "id: 3",
    ]
    assert "id: 1\n" not in rest
    assert "id: 3\n" in rest
    assert metrics.endswith("name,step,value,created_at\n")
    assert all(name in catalog for name in ("cifar_resnet", "soft_targets", "image_archive"))
    assert '"no_worker":1' in queue.replace(" ", "")
