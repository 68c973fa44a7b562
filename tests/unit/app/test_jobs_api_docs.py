"""Every example of docs/jobs-api.md runs as it is printed."""

from pathlib import Path

import httpx2

from tests.jobs import SPEC
from tests.pages import examples, run_bash
from tests.unit.app.conftest import JOBS
from tests.unit.app.served import serve


def test_the_examples_run_and_do_what_the_page_says(tmp_path: Path) -> None:
    first, *rest = examples("docs/jobs-api.md")
    with serve(tmp_path) as served:
        headers = {"Authorization": f"Bearer {served.variables['STILLHOUSE_API_KEY']}"}
        body = SPEC.model_dump(mode="json")
        job = httpx2.post(f"{served.url}{JOBS}", json=body, headers=headers).json()["id"]
        told = [run_bash(first + one, served.variables | {"JOB": job}) for one in rest]
    edit, conditional, steer, find, wait, stream, later, metrics, catalog, queue, known = told
    assert '"priority":5' in edit
    assert '"name":"digits-8"' in conditional
    assert find.count(job) >= 2
    assert '"status":"paused"' in steer
    assert '"name":"digits-9"' in steer
    # Made, edited twice, paused and resumed.
    assert '"version":5' in wait
    ids = [line for line in stream.splitlines() if line.startswith("id:")]
    assert ids == [f"id: {number}" for number in range(1, 6)]
    assert "id: 1\n" not in later
    assert "id: 3\n" in later
    assert metrics.endswith("name,step,value,created_at\n")
    assert all(name in catalog for name in ("cifar_resnet", "soft_targets", "image_archive"))
    assert '"no_worker":2' in queue.replace(" ", "")
    assert '"object":"list"' in known
