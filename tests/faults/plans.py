"""Which rows there are, and how much of each is enough: some minutes, or for good."""

from collections.abc import Callable

from tests.faults.outcome import Outcome, Plan
from tests.faults.rows import kill_stub, kill_training

ROWS: dict[str, Callable[[Plan], Outcome]] = {
    "kill_stub": kill_stub.run,
    "kill_training": kill_training.run,
}

QUICK = [
    ("kill_stub", Plan("postgres", jobs=25, faults=20, seed=1)),
    ("kill_stub", Plan("sqlite", jobs=25, faults=20, seed=2)),
    ("kill_training", Plan("sqlite", jobs=5, faults=15, seed=3)),
]

FULL = [
    ("kill_stub", Plan("postgres", jobs=1000, faults=2500, seed=1)),
    ("kill_stub", Plan("sqlite", jobs=1000, faults=2500, seed=2)),
    ("kill_training", Plan("postgres", jobs=50, faults=250, seed=3)),
    ("kill_training", Plan("sqlite", jobs=50, faults=250, seed=4)),
]
