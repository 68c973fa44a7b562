"""A finished job's result as a table: teacher, baseline and student, and what it amounts to."""

from collections.abc import Callable

from rich.console import Console, RenderableType
from rich.table import Table

from app.contracts.report import ModelReport, Report

ROWS: dict[str, Callable[[ModelReport], str]] = {
    "architecture": lambda model: model.architecture,
    "test accuracy": lambda model: f"{model.test.accuracy:.2%}",
    "test errors": lambda model: f"{model.test.errors} of {model.test.num_examples}",
    "log loss (nats)": lambda model: f"{model.test.log_loss:.3f}",
    "parameters": lambda model: f"{model.num_parameters:,}",
    "size (kB)": lambda model: f"{model.bytes / 1000:,.1f}",
    "latency (ms)": lambda model: f"{model.latency_seconds * 1000:.3f}",
}


def print_result(console: Console, report: Report) -> None:
    console.print(_table(report))
    console.print(conclusion(report), highlight=False)


def conclusion(report: Report) -> str:
    """Say in plain words whether distilling helped."""
    sizes = f"The student has 1/{report.compression:.1f} of the teacher's parameters."
    if report.baseline is None:
        return f"{sizes} No baseline was trained, so what distilling gained is not known."
    student, baseline = report.student.test.errors, report.baseline.test.errors
    if student >= baseline:
        return (
            f"{sizes} Distilling did not help here: the student makes {student} test errors, the "
            f"same model trained without a teacher {baseline}. More epochs, a better teacher or "
            "another objective may."
        )
    recovered = "" if report.gap_recovered is None else f", {report.gap_recovered:.0%} of the gap"
    return (
        f"{sizes} Distilling helped: the student makes {student} test errors, the same model "
        f"trained without a teacher {baseline}{recovered}."
    )


def _table(report: Report) -> RenderableType:
    models = {"teacher": report.teacher, "baseline": report.baseline, "student": report.student}
    table = Table(title="On test examples that no training has seen")
    table.add_column("")
    for name, model in models.items():
        if model is not None:
            table.add_column(name, justify="right")
    for row, cell in ROWS.items():
        table.add_row(row, *(cell(model) for model in models.values() if model is not None))
    return table
