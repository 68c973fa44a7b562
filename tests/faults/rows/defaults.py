"""The figures of a service as one installs it: with every setting at its default."""

from tests.faults.outcome import Outcome, Plan
from tests.faults.rows.cancel import cancel
from tests.faults.rows.takeover import take_over

DEFAULTS = {"STILLHOUSE_TRAINER": "worker.rehearsal"}
TAKEN_OVER_SECONDS = 75.0
CANCELLED_SECONDS = 50.0


def run_takeover(plan: Plan) -> Outcome:
    return take_over(plan, DEFAULTS, TAKEN_OVER_SECONDS)


def run_cancel(plan: Plan) -> Outcome:
    return cancel(plan, DEFAULTS, CANCELLED_SECONDS)
