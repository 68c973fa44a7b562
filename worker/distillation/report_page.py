"""`report.html`: a job's report as one page that needs no network and no script."""

from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from app.contracts.report import FullReport, OutputScores
from app.contracts.report_figures import (
    QUALITIES,
    figures,
    interval_cells,
    interval_text,
    roles,
    shown_gain,
    shown_gain_interval,
    shown_quality,
)
from worker.distillation import charts

MOST_OUTPUTS_LISTED = 200
OUTPUT_SCORES = {
    "classification": ("precision", "recall", "f1"),
    "multi_label": ("precision", "recall", "f1"),
    "regression": ("rmse", "r2"),
}
OUTPUT_NAMES = {"f1": "F1", "rmse": "RMSE", "r2": "R2"}
KINDS = {"classification": "class", "multi_label": "label", "regression": "target"}


def report_page(report: FullReport, name: str) -> str:
    """Return the page; whatever data and client call things, none of it becomes markup."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = files("worker.distillation").joinpath("report.html.jinja").read_text(encoding="utf-8")
    scores = OUTPUT_SCORES[report.task]
    return environment.from_string(source).render(
        name=name,
        report=report,
        compared_by=QUALITIES[report.compared_by],
        kind=KINDS[report.task],
        roles=list(roles(report)),
        figures=figures(report),
        conclusion=_conclusion(report),
        fidelity=_fidelity(report),
        plots=_plots(report),
        output_scores=[OUTPUT_NAMES.get(score, score) for score in scores],
        outputs=[
            _output(report, place)
            for place in range(len(report.output_names))[:MOST_OUTPUTS_LISTED]
        ],
        num_outputs_left=max(0, len(report.output_names) - MOST_OUTPUTS_LISTED),
        intervals=interval_cells(report),
    )


def _conclusion(report: FullReport) -> str:
    student = (
        f"{QUALITIES[report.compared_by]} {shown_quality(report, report.student.test.quality)}"
    )
    if report.gain is None:
        return (
            f"The student reaches {student} on test. No baseline was trained, so what distilling "
            "gained is not known."
        )
    share = ""
    if report.gap_recovered is not None and report.gain > 0:
        share = f" That is {report.gap_recovered:.0%} of the gap to the teacher"
        if report.gap_interval is not None:
            share += f" ({interval_text(report.gap_interval, '.0%')})"
        share += "."
    return (
        f"The student reaches {student} on test: {shown_gain(report, report.gain)} beside the same "
        f"model trained without a teacher (95 % interval {shown_gain_interval(report)}).{share}"
    )


def _fidelity(report: FullReport) -> str:
    found = report.fidelity
    if found is None:
        return ""
    if found.agreement is not None:
        return (
            f"The student gives the teacher's answer in {found.agreement:.2%} of cases; mean "
            f"KL(teacher || student) is {found.mean_divergence:.4f} nats."
        )
    return (
        f"Student and teacher differ by {found.rmse:.4f} standard deviations of the teacher's "
        f"predictions (RMSE); the student matches {found.r2:.2%} of their variance."
    )


def _plots(report: FullReport) -> list[tuple[str, str, Markup]]:
    """Return each plot with its title and what to look for in it."""
    drawn = [
        (
            "How good each model is on test",
            "Distilling has helped where the student lies right of the baseline.",
            charts.qualities(report),
        ),
        (
            "Validation by epoch",
            (
                "Where distilling helps, the student ends "
                f"{'below' if report.task == 'regression' else 'above'} the baseline. The dot is "
                "the epoch kept."
            ),
            charts.validation_curves(report),
        ),
        (
            "Training loss by epoch",
            "Each model's own objective: a curve's shape says something, its height does not.",
            charts.loss_curves(report),
        ),
        (
            "The student's loss terms",
            "Each before its weight.",
            charts.loss_terms(report),
        ),
        (
            "Reliability on test",
            (
                "On the line a probability comes true as often as it says; dots below it are too "
                "sure. A dot's area is how many answers it stands for."
            ),
            charts.reliability(report),
        ),
        (
            "Confusion on test: student less baseline",
            (
                "Test examples of each true class by answer, blue where the student gives it more "
                "often, orange where less. Blue on the diagonal and orange off it is mended."
            ),
            charts.confusion_difference(report),
        ),
    ]
    return [(title, hint, _labelled(svg, title)) for title, hint, svg in drawn if svg is not None]


def _labelled(svg: str, title: str) -> Markup:
    # Drawn by matplotlib, which escapes the data's names.
    opening = Markup('<svg role="img" aria-label="{}" ').format(title)
    return opening + Markup(svg.removeprefix("<svg "))  # noqa: S704


def _output(report: FullReport, place: int) -> dict[str, object]:
    """Return a row of the table of outputs: its name, its examples, each model's scores."""
    cells = [report.details[key].outputs[place] for key in charts.keys(report).values()]
    return {
        "name": report.output_names[place],
        "num_examples": cells[0].num_examples,
        "scores": [text for cell in cells for text in _score_texts(cell, report)],
    }


def _score_texts(output: OutputScores, report: FullReport) -> list[str]:
    values = [getattr(output, score) for score in OUTPUT_SCORES[report.task]]
    pattern = "#.4g" if report.task == "regression" else ".3f"
    return ["-" if value is None else format(value, pattern) for value in values]
