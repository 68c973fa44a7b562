"""How fast the API process is ready and how much memory it takes; exits 1 past the bars.

Bars: ready within 2 s of starting (the best of five starts, as machines are shared), and at most
150 MB resident after 1,000 requests.
"""

import sys
import tempfile
from pathlib import Path

import httpx2

from benchmarks.service import Service, serve

STARTS = 5
REQUESTS = 1000
READY_SECONDS = 2.0
RESIDENT_MB = 150.0


def main() -> int:
    """Print the figures and return the exit code."""
    seconds, resident = [], []
    with tempfile.TemporaryDirectory() as name:
        for number in range(STARTS):
            folder = Path(name) / str(number)
            folder.mkdir()
            with serve(folder, f"sqlite:///{folder}/stillhouse.db") as service:
                seconds.append(service.ready_seconds)
                resident.append(_resident_mb(service))
    print("| start | ready after (s) | resident after 1,000 requests (MB) |")
    print("| --- | --- | --- |")
    for number, row in enumerate(zip(seconds, resident, strict=True), start=1):
        print(f"| {number} | {row[0]:.2f} | {row[1]:.0f} |")
    within = min(seconds) <= READY_SECONDS and max(resident) <= RESIDENT_MB
    print(f"\nbars: {READY_SECONDS} s and {RESIDENT_MB:.0f} MB: {'met' if within else 'MISSED'}")
    return 0 if within else 1


def _resident_mb(service: Service) -> float:
    """Return the resident megabytes after many requests."""
    with httpx2.Client(
        base_url=f"http://127.0.0.1:{service.port}",
        headers={"Authorization": f"Bearer {service.key}"},
    ) as client:
        for number in range(REQUESTS):
            path = "/openapi.json" if number == 0 else "/v1/distillation/jobs"
            client.get(path).raise_for_status()
    return service.resident_mb


if __name__ == "__main__":
    sys.exit(main())
