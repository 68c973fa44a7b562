"""Aliases where movers, deleters and workers race, on both databases."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select

from app.db import verbs
from app.db.models import Job, Model
from app.db.session import Database
from app.errors import Conflict, NotFound, PreconditionFailed
from app.services import aliases, deletion, models
from tests.jobs import PROJECT_ID, claimed, queued
from tests.unit.app.conftest import report
from worker.delivery import add_results

NUM_THREADS = 20
LONGEST_SECONDS = 30
ALIAS = "digits@production"


def publish(database: Database, name: str | None = "digits") -> str:
    """Let a worker end a job of a name well, with a student and a teacher; return the job's id."""
    job_id = queued(database)
    with database.write() as session:
        session.get_one(Job, job_id).name = name
    succeed(database, claimed(database))
    return job_id


def succeed(database: Database, job: Job) -> None:
    with database.write() as session:
        held = verbs.hold(session, job.id, job.fence)
        add_results(session, held, [], report())
        verbs.succeed(session, held, report())


def race(each: Callable[[int], str]) -> Counter[str]:
    """Run something in twenty threads that begin together, and count what came of it."""
    together = threading.Barrier(NUM_THREADS, timeout=LONGEST_SECONDS)

    def run(number: int) -> str:
        together.wait()
        return each(number)

    with ThreadPoolExecutor(NUM_THREADS) as executor:
        return Counter(executor.map(run, range(NUM_THREADS)))


def test_of_twenty_movers_that_saw_the_same_one_wins(database: Database) -> None:
    for _ in range(3):
        publish(database)
    tag = aliases.entity_tag(aliases.move(database, PROJECT_ID, ALIAS, 1))
    for _ in range(3):
        seen = tag

        def move(number: int, seen: str = seen) -> str:
            version = number % 3 + 1
            try:
                moved = aliases.move(database, PROJECT_ID, ALIAS, version, if_match=seen)
            except PreconditionFailed:
                return "late"
            return f"{aliases.entity_tag(moved)} to {moved.version}"

        told = race(move)
        assert told.pop("late") == NUM_THREADS - 1
        (won,) = told
        now = aliases.read(database, PROJECT_ID, ALIAS)
        tag = aliases.entity_tag(now)
        assert won == f"{tag} to {now.version}"
        assert tag != seen


def test_of_twenty_who_make_the_same_alias_one_does(database: Database) -> None:
    publish(database)

    def make(_: int) -> str:
        try:
            aliases.move(database, PROJECT_ID, ALIAS, 1, only_new=True)
        except PreconditionFailed:
            return "late"
        return "made"

    assert race(make) == {"made": 1, "late": NUM_THREADS - 1}


def test_twenty_who_remove_an_alias_remove_it_once(database: Database) -> None:
    publish(database)
    aliases.move(database, PROJECT_ID, ALIAS, 1)

    def remove(_: int) -> str:
        try:
            aliases.remove(database, PROJECT_ID, ALIAS)
        except NotFound:
            return "gone"
        return "removed"

    assert race(remove) == {"removed": 1, "gone": NUM_THREADS - 1}


def test_twenty_jobs_that_end_at_once_have_twenty_versions(database: Database) -> None:
    # Of two names, one of which the teachers of the other have too.
    for number in range(NUM_THREADS):
        job_id = queued(database)
        with database.write() as session:
            session.get_one(Job, job_id).name = "digits" + "-teacher" * (number % 2)
    jobs = [claimed(database) for _ in range(NUM_THREADS)]

    def end(number: int) -> str:
        succeed(database, jobs[number])
        return "ended"

    assert race(end) == {"ended": NUM_THREADS}
    with database.read() as session:
        query = select(Model.name, Model.version).order_by(Model.version)
        found: dict[str | None, list[int | None]] = {}
        for name, version in session.execute(query):
            found.setdefault(name, []).append(version)
    half = NUM_THREADS // 2
    assert found == {
        "digits": list(range(1, half + 1)),
        "digits-teacher": list(range(1, NUM_THREADS + 1)),
        "digits-teacher-teacher": list(range(1, half + 1)),
    }


def test_a_job_is_deleted_or_an_alias_names_its_student_but_never_both(database: Database) -> None:
    for _ in range(5):
        job_id = publish(database)
        version = models.read_model(database, PROJECT_ID, "digits").version
        assert version is not None

        def act(number: int, job_id: str = job_id, version: int = version) -> str:
            try:
                if number % 2:
                    deletion.delete_job(database, PROJECT_ID, job_id)
                    return "deleted"
                aliases.move(database, PROJECT_ID, f"digits@word{number}", version)
            except (Conflict, NotFound):
                return "refused"
            return "moved"

        told = race(act)
        assert told["deleted"] in {0, 1}
        assert bool(told["deleted"]) != bool(told["moved"])
