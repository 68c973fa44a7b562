"""Which rows there are, and how much of each is enough: some minutes, or for good."""

from collections.abc import Callable

from tests.faults.outcome import Outcome, Plan
from tests.faults.rows import (
    cancel,
    damage,
    database,
    defaults,
    disk,
    disk_service,
    freeze,
    kill_stub,
    kill_training,
    queue,
    stop,
    takeover,
)

ROWS: dict[str, Callable[[Plan], Outcome]] = {
    "kill_stub": kill_stub.run,
    "kill_training": kill_training.run,
    "stop": stop.run,
    "freeze": freeze.run,
    "queue": queue.run,
    "database": database.run,
    "disk": disk.run,
    "disk_service": disk_service.run,
    "damage": damage.run,
    "cancel": cancel.run,
    "takeover": takeover.run,
    "takeover_default": defaults.run_takeover,
    "cancel_default": defaults.run_cancel,
}

QUICK = [
    ("kill_training", Plan("sqlite", jobs=5, faults=15, seed=3)),
    ("database", Plan("postgres", jobs=0, faults=5, seed=7)),
    ("kill_stub", Plan("postgres", jobs=25, faults=20, seed=1)),
    ("kill_stub", Plan("sqlite", jobs=25, faults=20, seed=2)),
    ("damage", Plan("sqlite", jobs=0, faults=20, seed=10)),
    ("queue", Plan("sqlite", jobs=0, faults=5, seed=6)),
    ("cancel", Plan("postgres", jobs=0, faults=10, seed=8)),
    ("stop", Plan("postgres", jobs=0, faults=5, seed=5)),
    ("takeover", Plan("sqlite", jobs=0, faults=4, seed=11)),
    ("disk_service", Plan("sqlite", jobs=0, faults=6, seed=12)),
    ("disk", Plan("sqlite", jobs=0, faults=1, seed=9)),
]
"""The longest first, so that two lanes end at about the same time."""

FULL = [
    ("kill_stub", Plan("postgres", jobs=1000, faults=2500, seed=1)),
    ("kill_stub", Plan("sqlite", jobs=1000, faults=2500, seed=2)),
    ("kill_training", Plan("postgres", jobs=50, faults=250, seed=3)),
    ("kill_training", Plan("sqlite", jobs=50, faults=250, seed=4)),
    ("stop", Plan("postgres", jobs=0, faults=250, seed=5)),
    ("stop", Plan("sqlite", jobs=0, faults=250, seed=6)),
    ("freeze", Plan("postgres", jobs=0, faults=20, seed=19)),
    ("queue", Plan("postgres", jobs=0, faults=100, seed=7)),
    ("queue", Plan("sqlite", jobs=0, faults=100, seed=8)),
    ("database", Plan("postgres", jobs=0, faults=200, seed=9)),
    ("disk", Plan("sqlite", jobs=0, faults=20, seed=10)),
    ("disk_service", Plan("postgres", jobs=0, faults=200, seed=18)),
    ("damage", Plan("postgres", jobs=0, faults=500, seed=11)),
    ("damage", Plan("sqlite", jobs=0, faults=500, seed=12)),
    ("cancel", Plan("postgres", jobs=0, faults=500, seed=13)),
    ("cancel", Plan("sqlite", jobs=0, faults=500, seed=14)),
    ("takeover", Plan("postgres", jobs=0, faults=200, seed=15)),
    ("takeover_default", Plan("postgres", jobs=0, faults=8, seed=16)),
    ("cancel_default", Plan("postgres", jobs=0, faults=24, seed=17)),
]
"""Of the disk, how often each operation fails; of all others, faults in all."""
