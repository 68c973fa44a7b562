"""How fast a large file goes to the API and back, and in how much memory; exits 1 past the bar.

Three ways: a form, parts of 64 MiB, a download; each with a file of its own bytes. Bar: at most
64 MiB more resident in the API process, over each of them, than before the first.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil

from benchmarks.service import serve

TIMEOUT_SECONDS = 1800.0

MOST_GROWTH_BYTES = 64 * 2**20
PART_BYTES = 64 * 2**20
BLOCK_BYTES = 2**20
WARMING_BYTES = 2**20
SAMPLED_EVERY_SECONDS = 0.02
MEBIBYTE = 2**20


class Figures:
    """What each way took."""

    def __init__(self, api: psutil.Process, size: int) -> None:
        self._api = api
        self._size = size
        self._before: int = api.memory_info().rss
        self.growths: list[int] = []

    @contextmanager
    def measured(self, way: str) -> Iterator[None]:
        """Print one way's figures."""
        peak = 0
        done = threading.Event()

        def sample() -> None:
            nonlocal peak
            while not done.wait(SAMPLED_EVERY_SECONDS):
                peak = max(peak, self._api.memory_info().rss)

        watcher = threading.Thread(target=sample)
        watcher.start()
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            done.set()
            watcher.join()
        growth = peak - self._before
        self.growths.append(growth)
        speed = self._size / seconds / 1e6
        print(f"| {way} | {speed:,.0f} | {growth / MEBIBYTE:,.0f} |", flush=True)


def main() -> int:
    """Print the figures and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=5)
    size = round(parser.parse_args().gigabytes * 1e9)
    with tempfile.TemporaryDirectory() as name, _served(Path(name)) as (client, pid):
        folder = Path(name)
        _send(client, _write(folder / "warming", WARMING_BYTES))
        figures = Figures(psutil.Process(pid), size)
        print(f"{size:,} bytes\n\n| way | MB/s | more memory at most (MiB) |")
        print("| --- | --- | --- |")
        path = _write(folder / "form", size)
        with figures.measured("upload, as a form"):
            file = _send(client, path)
        digest = _digest(path)
        path.unlink()
        with figures.measured("download"):
            _receive(client, file, digest)
        client.delete(f"/v1/files/{file}").raise_for_status()
        _remove_blobs(folder / "blobs")
        path = _write(folder / "parts", size)
        with figures.measured("upload, in parts"):
            _send_parts(client, path)
    within = max(figures.growths) <= MOST_GROWTH_BYTES
    print(f"\nbar: {MOST_GROWTH_BYTES // MEBIBYTE} MiB: {'met' if within else 'MISSED'}")
    return 0 if within else 1


@contextmanager
def _served(folder: Path) -> Iterator[tuple[httpx2.Client, int]]:
    """Serve an API that keeps its blobs in ``folder``; give a client and the process's id."""
    database = f"sqlite:///{folder}/stillhouse.db"
    with (
        serve(folder, database, TMPDIR=str(folder)) as service,
        httpx2.Client(
            base_url=f"http://127.0.0.1:{service.port}",
            headers={"Authorization": f"Bearer {service.key}"},
            timeout=TIMEOUT_SECONDS,
        ) as client,
    ):
        yield client, service.process.pid


def _write(path: Path, size: int) -> Path:
    """Write bytes that nothing packs, other ones each time."""
    block = os.urandom(BLOCK_BYTES)
    with path.open("wb") as file:
        for number in range(-(-size // BLOCK_BYTES)):
            file.write(number.to_bytes(8, "big") + block[8:])
        file.truncate(size)
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _send(client: httpx2.Client, path: Path) -> str:
    with path.open("rb") as file:
        answer = client.post("/v1/files", files={"file": (path.name, file)})
    return str(answer.raise_for_status().json()["id"])


def _receive(client: httpx2.Client, file: str, digest: str) -> None:
    found = hashlib.sha256()
    with client.stream("GET", f"/v1/files/{file}/content") as answer:
        for chunk in answer.raise_for_status().iter_bytes(BLOCK_BYTES):
            found.update(chunk)
    if found.hexdigest() != digest:
        raise ValueError(f"received {found.hexdigest()}, sent {digest}")


def _send_parts(client: httpx2.Client, path: Path) -> None:
    new = {"filename": path.name, "bytes": path.stat().st_size}
    upload = client.post("/v1/uploads", json=new).raise_for_status().json()["id"]
    ids, digest = [], hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(PART_BYTES):
            digest.update(part)
            answer = client.post(f"/v1/uploads/{upload}/parts", files={"data": ("part", part)})
            ids.append(answer.raise_for_status().json()["id"])
    body = {"part_ids": ids, "sha256": digest.hexdigest()}
    client.post(f"/v1/uploads/{upload}/complete", json=body).raise_for_status()


def _remove_blobs(folder: Path) -> None:
    """Make room on the disk, as the reconciler would a day later."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()


if __name__ == "__main__":
    sys.exit(main())
