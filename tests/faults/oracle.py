"""Says what a fault run has shown that no run may show; silent where all is well.

It trusts nothing of the product: it reads the client's log, the rows of the database, the stored
bytes and the list of processes, after Jepsen's manner.
"""

import itertools
from collections import Counter
from collections.abc import Iterator

from app.contracts.job import Status
from tests.faults.history import EventSeen, History, JobSeen

STUDENT_FILE = "student/model.safetensors"
FINAL = {f"job.{status}": status for status in (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)}
CLIENTS = {
    *("job.created", "job.cancel_requested", "job.cancelled"),
    *("job.pause_requested", "job.paused", "job.resumed"),
}
"""Events that may stand where no attempt runs."""
ENDS_ATTEMPT = {"job.requeued", "job.paused", *FINAL}
SERVICE_AWAY = 503


def complaints(history: History) -> list[str]:
    """Return what is wrong with a run, a sentence each."""
    found = [*_promises(history), *_answers(history), *_survivors(history)]
    for job in history.jobs.values():
        wrong = [*_numbers(job), *_attempts(job), *_end(job), *_points(job), *_files(job)]
        wrong += _unexplained(job, history.touched)
        found += [f"{job.name or job.id}: {sentence}" for sentence in wrong]
    return found


def _promises(history: History) -> Iterator[str]:
    for job_id in history.acknowledged:
        job = history.jobs.get(job_id)
        if job is None:
            yield f"{job_id} was acknowledged and is gone"
        elif job.status not in job.allowed:
            hoped = " or ".join(sorted(job.allowed))
            yield f"{job.name or job.id} is {job.status}, not {hoped} {job.error}"
    names = Counter(job.name for job in history.jobs.values() if job.name)
    yield from (f"{name} was made {times} times" for name, times in names.items() if times > 1)


def _answers(history: History) -> Iterator[str]:
    """A client may be told to come again, and nothing worse."""
    for answer in history.answers:
        asked = f"{answer.method} {answer.path}"
        if answer.status == 0:
            yield f"{asked} got no answer ({answer.retry_after})"
        elif answer.status == SERVICE_AWAY and answer.retry_after is None:
            yield f"{asked} answered 503 without Retry-After"
        elif answer.status >= 500 and answer.status != SERVICE_AWAY:
            yield f"{asked} answered {answer.status}"


def _survivors(history: History) -> Iterator[str]:
    for each in history.survivors:
        yield (
            f"process {each.pid} outlived attempt {each.fence} of {each.job_id} "
            f"by {each.seconds:.1f} s"
        )


def _numbers(job: JobSeen) -> Iterator[str]:
    if [event.number for event in job.events] != list(range(1, len(job.events) + 1)):
        yield "its events have gaps"
    fences = [event.fence for event in job.events]
    if fences != sorted(fences):
        yield f"an event of an old fence follows a newer one: {fences}"


def _attempts(job: JobSeen) -> Iterator[str]:
    """Every fence begins with a claim, has each phase once, and ends before the next begins."""
    running: int | None = None
    told: list[EventSeen] = []
    claims = 0
    for event in job.events:
        if event.type == "job.claimed":
            claims += 1
            if running is not None:
                yield f"fence {event.fence} was claimed while {running} ran"
            if event.fence != claims or event.data.get("attempt") != claims:
                yield f"claim {claims} has fence {event.fence} and attempt {event.data}"
            running, told = event.fence, []
        elif running is None and event.type not in CLIENTS:
            yield f"{event.type} at event {event.number}, where no attempt runs"
        elif running is not None and event.fence != running:
            yield f"{event.type} under fence {event.fence} while {running} ran"
        else:
            told.append(event)
        if event.type in ENDS_ATTEMPT and running is not None:
            yield from _told(told)
            running = None


def _unexplained(job: JobSeen, touched: frozenset[tuple[str, int]] | None) -> Iterator[str]:
    """An attempt that nobody did harm to ends well: else somebody else has ended it."""
    if touched is not None:
        for event in job.events:
            if event.type == "job.requeued" and (job.id, event.fence) not in touched:
                yield f"attempt {event.fence} was given up with no reason: {event.message}"


def _told(events: list[EventSeen]) -> Iterator[str]:
    """One trainer speaks in an attempt: it begins each phase once, and its steps rise."""
    phases = Counter(e.data["phase"] for e in events if e.type == "job.phase_started")
    yield from (f"an attempt began {phase} twice" for phase, times in phases.items() if times > 1)
    kept = [event.data for event in events if event.type == "job.checkpoint"]
    for before, after in itertools.pairwise(kept):
        same = (before["phase"], before["role"]) == (after["phase"], after["role"])
        # Between two stages there is neither a role nor a step.
        if same and before["role"] is not None and before["step"] >= after["step"]:
            yield f"a checkpoint of step {after['step']} followed one of step {before['step']}"


def _end(job: JobSeen) -> Iterator[str]:
    ends = [event for event in job.events if event.type in FINAL]
    if len(ends) > 1:
        yield f"it ended {len(ends)} times: {[event.type for event in ends]}"
    if ends and ends[-1] is not job.events[-1]:
        yield f"{job.events[-1].type} follows its end"
    if ends and FINAL[ends[-1].type] != job.status:
        yield f"its events say {ends[-1].type}, its row {job.status}"
    if not ends and job.status in FINAL.values():
        yield f"it is {job.status} and no event says so"


def _points(job: JobSeen) -> Iterator[str]:
    """Only the attempt that holds the job measures, and measures each step once."""
    fences = [point.fence for point in job.points]
    if fences != sorted(fences):
        yield "a metric of an old fence follows a newer one"
    twice = [point for point, times in Counter(job.points).items() if times > 1]
    if twice:
        first = twice[0]
        yield f"fence {first.fence} measured {first.name} at step {first.step} twice"


def _files(job: JobSeen) -> Iterator[str]:
    for file in job.files:
        if file.stored_sha256 is None:
            yield f"the bytes of {file.path} are gone"
        elif file.stored_sha256 != file.sha256:
            yield f"the bytes of {file.path} are not those of its digest"
    students = [file.sha256 for file in job.files if file.path == STUDENT_FILE]
    if job.status == Status.SUCCEEDED:
        if not students:
            yield "it succeeded without a student"
        elif job.student is not None and students != [job.student]:
            yield "its student is not the one that an undisturbed run gives"
    elif students:
        yield f"it is {job.status} and has a student"
