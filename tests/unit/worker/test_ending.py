"""What follows from how a trainer ended."""

import signal

import pytest

from app.contracts.job import JobError, Phase
from app.contracts.message import ExitCode
from app.contracts.report import Fidelity, ModelReport, Report, Scores
from worker.ending import Ending, Verdict

SCORES = Scores(num_examples=1, quality=1, errors=0, accuracy=1)
MODEL = ModelReport(architecture="mlp", num_parameters=1, bytes=1, latency_seconds=1, test=SCORES)
REPORT = Report(
    teacher=MODEL,
    baseline=None,
    student=MODEL,
    fidelity=Fidelity(agreement=1, mean_divergence=0),
    gain=None,
    gap_recovered=None,
    compression=1,
    speedup=1,
    num_examples={},
    output_names=[],
)
DISK_FULL = JobError(code="disk_full", message="The disk is full.", retryable=True, hint="Free.")
NO_GPU = JobError(code="no_gpu", message="The spec asks for 1.", retryable=False, hint="Ask not.")
BAD_INPUT = JobError(code="bad_data", message="Line 3.", retryable=False)


@pytest.mark.parametrize(
    ("ending", "verdict"),
    [
        (Ending(ExitCode.SUCCEEDED, report=REPORT), Verdict.DELIVER),
        (Ending(ExitCode.SUCCEEDED, report=REPORT, killed=True), Verdict.DELIVER),
        (Ending(ExitCode.SUCCEEDED), Verdict.RETRY),
        (Ending(ExitCode.BAD_INPUT, error=BAD_INPUT), Verdict.FAIL),
        (Ending(ExitCode.BAD_INPUT), Verdict.RETRY),
        (Ending(ExitCode.CANCELLED, overdue=True), Verdict.FAIL),
        (Ending(ExitCode.DRAINED), Verdict.GIVE_BACK),
        (Ending(ExitCode.PAUSED), Verdict.GIVE_BACK),
        (Ending(ExitCode.CANCELLED), Verdict.GIVE_BACK),
        (Ending(-signal.SIGKILL, killed=True), Verdict.GIVE_BACK),
        (Ending(-signal.SIGKILL, hung=True), Verdict.RETRY),
        (Ending(ExitCode.DISK_FULL, error=DISK_FULL), Verdict.SET_ASIDE),
        (Ending(ExitCode.BAD_INPUT, error=NO_GPU), Verdict.SET_ASIDE),
        (Ending(-signal.SIGSEGV), Verdict.RETRY),
        (Ending(1), Verdict.RETRY),
    ],
)
def test_the_verdict_follows_from_what_was_seen(ending: Ending, verdict: Verdict) -> None:
    assert ending.verdict is verdict


def test_bad_input_is_told_as_the_trainer_told_it_with_the_phase() -> None:
    error = Ending(ExitCode.BAD_INPUT, error=BAD_INPUT, phase=Phase.PREPARING).explain()

    assert (error.code, error.message, error.phase) == ("bad_data", "Line 3.", Phase.PREPARING)


@pytest.mark.parametrize(
    ("ending", "code", "words"),
    [
        (Ending(-signal.SIGKILL), "trainer_crashed", "killed by someone"),
        (Ending(-signal.SIGKILL, out_of_memory=True), "out_of_memory", "ran out of memory"),
        (Ending(-signal.SIGKILL, hung=True, out_of_memory=True), "trainer_hung", "no step"),
        (Ending(ExitCode.DISK_FULL, error=DISK_FULL), "disk_full", "full"),
        (Ending(ExitCode.BAD_INPUT, error=NO_GPU), "no_gpu", "The worker's GPU is away"),
        (Ending(-signal.SIGSEGV), "trainer_crashed", "SIGSEGV"),
        (Ending(3), "trainer_crashed", "exit code 3"),
        (Ending(ExitCode.CANCELLED, overdue=True), "deadline_exceeded", "max_runtime_seconds"),
    ],
)
def test_a_crash_says_how_it_happened_and_may_be_tried_again(
    ending: Ending, code: str, words: str
) -> None:
    error = ending.explain()

    assert error.code == code
    assert error.retryable
    assert words in error.message
    assert error.hint


def test_a_job_that_needs_too_much_memory_is_tried_only_once_more() -> None:
    assert Ending(-signal.SIGKILL, out_of_memory=True).most_failures == 2
    assert Ending(-signal.SIGKILL).most_failures is None
    assert Ending(1, out_of_memory=True).most_failures is None
