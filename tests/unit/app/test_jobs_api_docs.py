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
    edit, conditional, find, wait, stream, later, metrics, catalog, queue = told
    assert '"priority":5' in edit
    assert '"name":"digits-8"' in conditional
    assert find.count(job) >= 2
    assert '"version":3' in wait
    assert [line for line in stream.splitlines() if line.startswith("id:")] == [
        "id: 1",
        "id: 2",
        "id: 3",
    ]
    assert "id: 1\n" not in later
    assert "id: 3\n" in later
    assert metrics.endswith("name,step,value,created_at\n")
    assert all(name in catalog for name in ("cifar_resnet", "soft_targets", "image_archive"))
    assert '"no_worker":1' in queue.replace(" ", "")
