"""Kills a random process of a house, again and again, and starts what only an operator would."""

import time
from random import Random

import psutil

from app.db.models import Job
from tests.faults.houses import FaultHouse
from tests.faults.processes import WorkerFamily

WEIGHTS = {"trainer": 8, "child": 6, "main": 3, "tree": 2, "reconciler": 3}
"""How often each is chosen, of 22: the parts nearer to the job more often."""
MOST_MAIN_KILLS = 2
"""Of one `stillhouse worker`, which waits longer and longer before it starts Celery again."""


class Killer:
    """SIGKILL, and nothing else."""

    def __init__(self, house: FaultHouse, random: Random) -> None:
        self._house = house
        self._random = random
        self._main_kills: dict[int, int] = {}
        self.killed: dict[str, int] = dict.fromkeys(WEIGHTS, 0)

    @property
    def num_killed(self) -> int:
        return sum(self.killed.values())

    def strike(self) -> bool:
        """Kill one process; return whether there was one of the chosen kind."""
        role = self._random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        if role == "reconciler":
            self._house.kill("reconciler")
            self._house.house.start("reconciler")
        else:
            found = self._house.families()
            if role == "trainer":
                found = [family for family in found if family.attempt is not None]
            if not found or not self._strike_worker(self._random.choice(found), role):
                return False
        self.killed[role] += 1
        return True

    def _strike_worker(self, family: WorkerFamily, role: str) -> bool:
        try:
            match role:
                case "trainer":
                    return self._strike_trainer(family)
                case "child":
                    family.child.kill()
                case "main" if self._main_kills.get(family.tree.pid, 0) < MOST_MAIN_KILLS:
                    family.main.kill()
                    self._main_kills[family.tree.pid] = 1 + self._main_kills.get(family.tree.pid, 0)
                case _:
                    self._house.kill(family.name)
                    self._house.house.start(family.name)
        except psutil.NoSuchProcess:
            return False
        return True

    def _strike_trainer(self, family: WorkerFamily) -> bool:
        """Kill a trainer, unless that would be the failure that rightly ends its job."""
        assert family.attempt is not None
        with self._house.database.read() as session:
            job = session.get_one(Job, family.attempt.job_id)
        if job.num_failures + 1 >= job.max_attempts:
            return False
        family.attempt.process.kill()
        return True


def pause(random: Random, shortest: float, longest: float) -> None:
    time.sleep(random.uniform(shortest, longest))
