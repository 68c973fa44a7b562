"""Hostile files: taken as mere bytes, shown as broken by a look, and refused by every reader."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from app.contracts.dataset import Csv, ImageArchive
from tests.integration.hostile_archives import archives
from tests.integration.hostile_files import parquet_files, polyglots, tensor_files
from tests.integration.hostile_tables import tables
from tests.unit.app.served import serve
from worker.distillation.data import csv, image_archive
from worker.distillation.errors import BadInput

FILES = [*tables(), *archives(), *parquet_files(), *tensor_files(), *polyglots()]
MOST_SECONDS = 60
MOST_GROWTH_BYTES = 64 * 2**20
MOST_ENDED = 3


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx2.Client, Path]]:
    """Serve an API; at the end it must have taken no more memory nor kept any file open."""
    folder = tmp_path_factory.mktemp("hostile")
    with serve(folder) as served:
        headers = {"Authorization": f"Bearer {served.key_file.read_text()}"}
        with httpx2.Client(base_url=served.url, headers=headers, timeout=60) as client:
            _look_at(client, b"a,label\n1,x\n2,y\n")
            api = psutil.Process(served.process.pid)
            before = api.memory_info().rss, api.num_fds()
            yield client, folder
            grown = api.memory_info().rss - before[0]
            assert grown < MOST_GROWTH_BYTES, f"the API has {grown} bytes more"
            assert api.num_fds() <= before[1]
            assert api.children() == []
            log = (folder / "api.log").read_text()
            assert log.count('"preview_crashed"') == 0
            ended = log.count('"preview_failed"')
            assert ended <= MOST_ENDED, f"{ended} looks had to be ended from outside"


def test_there_are_at_least_300() -> None:
    assert len({content for _, content in FILES}) >= 300


@pytest.mark.parametrize(
    "content", [content for _, content in FILES], ids=[what for what, _ in FILES]
)
def test_a_hostile_file_does_no_harm(service: tuple[httpx2.Client, Path], content: bytes) -> None:
    client, folder = service
    start = time.monotonic()
    found = _look_at(client, content)
    assert found["num_problems"] > 0, found
    # Told by a look that came to its end, unless it was ended for taking too much.
    assert "not_looked_at" not in {problem["code"] for problem in found["problems"]}
    path = folder / "content"
    path.write_bytes(content)
    (folder / "scratch").mkdir(exist_ok=True)
    with pytest.raises(BadInput):
        csv.read(Csv(), path, folder / "scratch", lambda *_: None)
    with pytest.raises(BadInput):
        image_archive.read(ImageArchive(), path, folder / "scratch", lambda *_: None)
    assert time.monotonic() - start < MOST_SECONDS


def _look_at(client: httpx2.Client, content: bytes) -> dict[str, Any]:
    """Upload a file, look at it, and delete it again."""
    answer = client.post("/v1/files", files={"file": ("data", content)})
    assert answer.status_code == 201, answer.text
    address = f"/v1/files/{answer.json()['id']}"
    found = client.get(f"{address}/preview")
    assert found.status_code == 200, found.text
    assert len(found.content) < 100_000
    assert client.delete(address).status_code == 200
    seen: dict[str, Any] = found.json()
    return seen
