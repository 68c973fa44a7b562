"""A finished job's result as a table: teacher, baseline and student, and what it amounts to."""

from rich.console import Console, RenderableType
from rich.table import Table

from app.contracts.report import Report
from app.contracts.report_figures import QUALITIES, figures, roles, shown_quality


def print_result(console: Console, report: Report) -> None:
    console.print(_table(report))
    console.print(conclusion(report), highlight=False)


def conclusion(report: Report) -> str:
    """Say in plain words whether distilling helped."""
    sizes = ""
    if report.compression is not None:
        sizes = f"The student has {1 / report.compression:.1%} of the teacher's parameters. "
    if report.baseline is None:
        return f"{sizes}No baseline was trained, so what distilling gained is not known."
    student, baseline = _measured(report)
    if report.student.test.quality <= report.baseline.test.quality:
        return (
            f"{sizes}Distilling did not help here: the student {student}, the same model trained "
            f"without a teacher {baseline}. More epochs, a better teacher or another objective may."
        )
    recovered = "" if report.gap_recovered is None else f", {report.gap_recovered:.0%} of the gap"
    doubt = ""
    if report.gain_interval is not None and report.gain_interval.low <= 0:
        doubt = f" On {report.num_examples['test']:,} test examples that may be chance."
    return (
        f"{sizes}Distilling helped: the student {student}, the same model trained without a "
        f"teacher {baseline}{recovered}.{doubt}"
    )


def _measured(report: Report) -> tuple[str, str]:
    assert report.baseline is not None  # noqa: S101 (the caller has looked)
    if report.task == "classification":
        student, baseline = report.student.test.errors, report.baseline.test.errors
        return f"makes {student} test errors", str(baseline)
    name = QUALITIES[report.compared_by]
    quality = shown_quality(report, report.student.test.quality)
    return f"reaches {name} {quality}", shown_quality(report, report.baseline.test.quality)


def _table(report: Report) -> RenderableType:
    table = Table(title="On test examples that no training has seen")
    table.add_column("")
    for name in roles(report):
        table.add_column(name, justify="right")
    for row, cells in figures(report).items():
        table.add_row(row, *cells)
    return table
