"""What a person reads at a terminal."""

import io
from pathlib import Path

from app.contracts.job import JobError, Phase, Progress
from app.contracts.message import (
    Failed,
    MetricsMeasured,
    PhaseFinished,
    PhaseStarted,
    ProgressMade,
    Warned,
)
from app.contracts.report import Fidelity, ModelReport, Report, Scores
from worker.distillation.console import Console, table

PROGRESS = ProgressMade(
    progress=Progress(
        phase=Phase.TRAINING_STUDENT,
        epoch=2,
        epochs=5,
        step=30,
        steps=100,
        examples_per_second=12345.6,
        seconds_left=7.4,
    )
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_each_phase_is_a_line_and_what_came_out_another() -> None:
    stream = io.StringIO()
    console = Console(stream)
    for message in (
        PhaseStarted(phase=Phase.TRAINING_TEACHER),
        PROGRESS,
        MetricsMeasured(step=1, values={"teacher/loss": 1.0}),
        Warned(message="few examples"),
        PhaseFinished(phase=Phase.TRAINING_TEACHER, summary="teacher: 98.2 % on validation"),
        PhaseFinished(phase=Phase.TRAINING_BASELINE, skipped=True),
        Failed(error=JobError(code="bad", message="no", retryable=False, hint="do this")),
    ):
        console.send(message)

    assert stream.getvalue().splitlines() == [
        "training teacher ...",
        "  warning: few examples",
        "  teacher: 98.2 % on validation",
        "  not needed",
        "failed (bad): no",
        "  do this",
    ]


def test_progress_is_written_in_place_on_a_terminal() -> None:
    stream = Terminal()
    Console(stream).send(PROGRESS)

    assert stream.getvalue() == ("\r\x1b[K  epoch 2 of 5, 30 of 100, 12,346 examples/s, 7 s left")


def test_the_table_sets_the_models_side_by_side(tmp_path: Path) -> None:
    def model(errors: int, num_parameters: int) -> ModelReport:
        test = Scores(
            num_examples=100,
            quality=1 - errors / 100,
            errors=errors,
            accuracy=1 - errors / 100,
            log_loss=0.25,
        )
        return ModelReport(
            architecture="mlp",
            num_parameters=num_parameters,
            bytes=4 * num_parameters,
            latency_seconds=0.001,
            test=test,
        )

    report = Report(
        teacher=model(2, 12345),
        baseline=None,
        student=model(7, 678),
        fidelity=Fidelity(agreement=0.9, mean_divergence=0.1),
        compression=18.2,
        speedup=1.0,
        num_examples={"train": 1, "validation": 0, "test": 100},
        output_names=["a", "b"],
    )

    assert [line.split() for line in table(report).splitlines()] == [
        ["teacher", "student"],
        ["architecture", "mlp", "mlp"],
        ["test", "accuracy", "98.00%", "93.00%"],
        ["test", "errors", "2", "of", "100", "7", "of", "100"],
        ["log", "loss", "(nats)", "0.2500", "0.2500"],
        ["parameters", "12,345", "678"],
        ["bytes", "49,380", "2,712"],
        ["latency", "(ms)", "1.000", "1.000"],
    ]
    assert len({len(line) for line in table(report).splitlines()}) == 1
