"""The disk fills up under a trainer of a running service: its job is set aside and not charged."""

import time
from random import Random

from tests.faults.history import History
from tests.faults.houses import ROOT, SHORT, open_house
from tests.faults.outcome import Outcome, Plan
from tests.faults.specs import rehearsal

LAST_OPERATION = 45
"""About as many as a rehearsal of three seconds makes."""
LAST_SECONDS = 120
NOT_CHARGED = "this one is not charged"


def run(plan: Plan) -> Outcome:
    """Post as many jobs as there are faults; each finds its disk full once."""
    began = time.monotonic()
    random = Random(plan.seed)  # noqa: S311 (a run that can be had again)
    injected = {
        **SHORT,
        "PYTHONPATH": f"{ROOT / 'tests' / 'faults' / 'injected' / 'full_disk'}:{ROOT}",
    }
    with open_house(plan.database, injected, sabotage=plan.sabotage) as house:
        assert house.touched is not None
        for number in range(plan.faults):
            spec, expected = rehearsal(f"full-{plan.seed}-{number}", number)
            spec["metadata"]["fault.full_at"] = str(random.randint(1, LAST_OPERATION))
            house.touched.add((house.post(spec, expected), 1))
        house.wait_for_end(LAST_SECONDS + 2 * plan.faults)
        history, wrong = house.judged()
        wrong += _not_set_aside(history)
        house.is_kept = bool(wrong)
    return Outcome(
        "disk full under a trainer of the service",
        plan.database,
        plan.seed,
        plan.faults,
        plan.faults,
        time.monotonic() - began,
        wrong,
    )


def _not_set_aside(history: History) -> list[str]:
    """Each job is queued again once, uncharged."""
    found = []
    for job in history.jobs.values():
        reasons = [event.message for event in job.events if event.type == "job.requeued"]
        if len(reasons) != 1 or NOT_CHARGED not in reasons[0]:
            found.append(f"{job.name}: its disk was full, and what came of it is {reasons}")
    return found
