"""What a person sees of a running job, on a terminal and in a file."""

from datetime import UTC, datetime, timedelta
from io import StringIO

from rich.console import Console

from app.cli.progress import JobDisplay, describe, print_outcome
from app.contracts.job import DesiredStatus, Job, Phase, PhaseRecord, Progress, Status
from tests.unit.app.served import report

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def running_job() -> Job:
    """Make a job that has prepared its data and trains its teacher."""
    ended = BEGAN + timedelta(seconds=2.5)
    return Job(
        id="distjob-1",
        name=None,
        status=Status.RUNNING,
        desired_status=DesiredStatus.RUNNING,
        phase=Phase.TRAINING_TEACHER,
        phases=[
            PhaseRecord(
                name=Phase.PREPARING, status="succeeded", started_at=BEGAN, finished_at=ended
            ),
            PhaseRecord(name=Phase.TRAINING_TEACHER, status="running", started_at=ended),
        ],
        waiting_reason=None,
        progress=Progress(
            phase=Phase.TRAINING_TEACHER,
            epoch=3,
            epochs=30,
            step=24,
            steps=240,
            examples_per_second=12345.6,
            seconds_left=8.4,
        ),
        metrics={},
        attempt=1,
        max_attempts=3,
        num_checkpoints=0,
        version=4,
        created_at=BEGAN,
        queued_at=BEGAN,
        started_at=BEGAN,
        finished_at=None,
        spec={},
        resolved_spec={},
        result=None,
        student_model=None,
        teacher_model=None,
        knowledge=None,
        files=[],
        parent_id=None,
        error=None,
        warnings=["the test part is small"],
        metadata={},
    )


def shown(*, terminal: bool, job: Job | None = None) -> str:
    console = Console(file=StringIO(), force_terminal=terminal, width=120, color_system=None)
    with JobDisplay(console) as display:
        display.show(job or running_job())
        display.show(job or running_job())
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_progress_is_told_in_a_few_words() -> None:
    assert describe(running_job()) == "epoch 3/30, 12,346 examples/s, 8 s left"


def test_a_terminal_has_a_bar_for_each_phase() -> None:
    text = shown(terminal=True)

    assert "preparing" in text
    assert "2.5 s" in text
    assert "training teacher" in text
    assert "epoch 3/30" in text


def test_a_file_has_a_line_for_each_change_and_none_twice() -> None:
    assert shown(terminal=False).splitlines() == [
        "preparing: succeeded",
        "training_teacher: running",
    ]


def test_a_paused_job_is_said_to_be_and_how_it_goes_on() -> None:
    job = running_job().model_copy(update={"status": Status.PAUSED})

    assert shown(terminal=False, job=job).count("stillhouse jobs resume") == 1


def test_the_outcome_tells_each_warning_once() -> None:
    job = running_job()
    job.result = report().model_copy(update={"warnings": [*job.warnings, "no gain"]})
    console = Console(file=StringIO(), width=120)

    print_outcome(console, job)

    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert text.count("Note: the test part is small") == 1
    assert text.count("Note: no gain") == 1
