"""`python -m tests.conformance --requests 10000`: is every answer as the OpenAPI document says?"""

import argparse
import signal
import subprocess
import sys
import time

from tests.conformance import generated, hostile, wanted
from tests.conformance.service import DATABASES, open_service

HOSTILE_SHARE = 0.2
"""Of all requests, those of the hostile JSON set."""


def main() -> int:
    """Send what was asked for; return 0 if no answer was wrong."""
    given = _parser().parse_args()
    # So that what was started is ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if given.database is None:
        return _on_each(given.requests // len(DATABASES), given.seed)
    start = time.monotonic()
    with open_service(given.database) as service:
        num_hostile = round(given.requests * HOSTILE_SHARE)
        outcome = wanted.run(service)
        outcome += hostile.run(service, num_hostile, given.seed)
        outcome += generated.run(service, given.requests - num_hostile, given.seed)
        outcome.complaints |= service.tracebacks()
    print(f"\n{given.database}, seed {given.seed}, {time.monotonic() - start:.0f} s")
    print(outcome.table(), flush=True)
    is_whole = outcome.num_requests >= given.requests
    return 0 if is_whole and not outcome.complaints else 1


def _on_each(num_requests: int, seed: int) -> int:
    """Run on every database at once, each in a process: schemathesis keeps hooks by process."""
    running = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.conformance", "--database", database),
                *("--requests", str(num_requests), "--seed", str(seed)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for database in DATABASES
    ]
    for process in running:
        print(process.communicate()[0], flush=True)
    return max(process.returncode for process in running)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000, help="at least so many in all")
    parser.add_argument("--database", choices=DATABASES, help="on this one alone")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
