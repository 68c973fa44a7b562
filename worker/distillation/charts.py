"""A report's plots, as SVG that stands inside a page, light or dark.

Shapes: C = classes.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from app.contracts.report import CurvePoint, FullReport, ModelReport
from app.contracts.report_figures import QUALITIES, roles, shown_quality
from worker.distillation.svg import drawn, one_line

# After Okabe and Ito, told apart by everyone; at least 3:1 on white and on near black.
COLOURS = {"teacher": "#1f83c9", "baseline": "#c27800", "student": "#129a6e"}
OTHERS = ("#c0569a", "#7a6fd0", "#a08200", "#d1495b", "#4f8f92", "#8a7866")
STYLES = {"teacher": (0, (5, 2)), "baseline": (0, (1.5, 1.5))}
MORE, FEWER = "#1f83c9", "#d9730d"
MOST_NAMED_CLASSES = 40
MOST_NUMBERED_CLASSES = 20
PANEL_INCHES = 1.95


def qualities(report: FullReport) -> str | None:
    """Draw each model's quality on test with its interval."""
    models = roles(report)
    if not all(report.compared_by in model.test.intervals for model in models.values()):
        return None

    def draw(axes: Axes) -> None:
        for place, (role, model) in enumerate(models.items()):
            _whisker(axes, place, role, model, report)
        axes.set(
            yticks=range(len(models)), yticklabels=list(models), ylim=(len(models) - 0.5, -0.7)
        )
        axes.set_xlabel(f"{QUALITIES[report.compared_by]} on test, with its 95 % interval")
        axes.grid(visible=False, axis="y")
        if report.compared_by == "accuracy":
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))

    return drawn("qualities", draw, (5.6, 0.9 + 0.5 * len(models)))


def validation_curves(report: FullReport) -> str | None:
    """Draw what each model reached on validation, epoch by epoch, and the epoch that was kept."""
    figure, name = str(report.compared_by), QUALITIES[report.compared_by]
    if report.task == "regression":
        figure, name = "rmse", "RMSE (standard deviations)"
    lines = {
        role: {
            point.epoch: point.validation[figure] for point in curve if figure in point.validation
        }
        for role, curve in _curves(report).items()
    }
    lines = {role: line for role, line in lines.items() if line}

    def draw(axes: Axes) -> None:
        for number, (role, line) in enumerate(lines.items()):
            _line(axes, role, number, line)
            kept = roles(report)[role].epoch
            if kept in line:
                axes.plot(kept, line[kept], "o", color=_colour(role, number), markersize=5)
        _epochs(axes, f"{name} on validation")

    return drawn("validation", draw) if lines else None


def loss_curves(report: FullReport) -> str | None:
    """Draw each model's training loss, epoch by epoch."""
    lines = {
        role: {point.epoch: point.loss for point in curve}
        for role, curve in _curves(report).items()
        if curve
    }

    def draw(axes: Axes) -> None:
        for number, (role, line) in enumerate(lines.items()):
            _line(axes, role, number, line)
        _log_if_positive(axes, [value for line in lines.values() for value in line.values()])
        _epochs(axes, "training loss, weighted")

    return drawn("loss", draw) if lines else None


def loss_terms(report: FullReport) -> str | None:
    """Draw each term of the student's objective, not weighted."""
    curve = report.details["student"].curve
    terms = list(curve[0].losses) if curve else []

    def draw(axes: Axes) -> None:
        for number, term in enumerate(terms):
            line = {point.epoch: point.losses[term] for point in curve}
            _line(axes, one_line(term), number, line, OTHERS[number % len(OTHERS)])
        _log_if_positive(axes, [value for point in curve for value in point.losses.values()])
        _epochs(axes, "mean over the train examples")

    return drawn("terms", draw) if terms else None


def reliability(report: FullReport) -> str | None:
    """Draw, for each model, how often answers of a probability come true; area is their number."""
    shown = {
        role: report.details[key].reliability
        for role, key in keys(report).items()
        if report.details[key].reliability
    }
    of_labels = report.task == "multi_label"
    most = max((bin_.num_answers for bins in shown.values() for bin_ in bins), default=1)

    def draw(*panels: Axes) -> None:
        for number, (axes, (role, bins)) in enumerate(zip(panels, shown.items(), strict=True)):
            x, y = ([each.confidence for each in bins], [each.accuracy for each in bins])
            axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
            axes.vlines(x, x, y, color=_colour(role, number), linewidth=1)
            areas = [8 + 160 * each.num_answers / most for each in bins]
            axes.scatter(x, y, s=areas, color=_colour(role, number), alpha=0.75, linewidth=0)
            error = roles(report)[role].test.calibration_error
            axes.set_title(f"{role}: error {error:.3f}", fontsize=9)
            axes.set(xlim=(-0.03, 1.06), ylim=(-0.05, 1.08), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
            axes.set_xlabel("probability of yes" if of_labels else "probability of the answer")
        panels[0].set_ylabel("share that is yes" if of_labels else "share that is right")

    size = PANEL_INCHES * len(shown), PANEL_INCHES + 0.4
    return drawn("reliability", draw, size, len(shown)) if shown else None


def confusion_difference(report: FullReport) -> str | None:
    """Draw which answers the student gives more and which less often than the baseline."""
    student, baseline = report.details["student"], report.details.get("baseline")
    if student.confusion is None or baseline is None or baseline.confusion is None:
        return None
    difference_CC = np.array(student.confusion) - np.array(baseline.confusion)
    num_classes = len(difference_CC)

    def draw(axes: Axes) -> None:
        axes.imshow(_shades(difference_CC), interpolation="none")
        if num_classes <= MOST_NUMBERED_CLASSES:
            for row, column in zip(*difference_CC.nonzero(), strict=True):
                text = f"{difference_CC[row, column]:+d}"
                axes.text(column, row, text, ha="center", va="center", fontsize=7)
        span = (-0.5, num_classes - 0.5)
        axes.plot(span, span, color="grey", linewidth=0.6)
        axes.set(xlim=span, ylim=span[::-1], aspect="equal", xlabel="answer", ylabel="true class")
        _name_classes(axes, report.output_names)

    return drawn("confusion", draw, (5.6, 5.2))


def keys(report: FullReport) -> dict[str, str]:
    """Return, by a role as it is shown, its key among the details."""
    return {role: role.replace(" ", "_") for role in roles(report)}


def _curves(report: FullReport) -> dict[str, list[CurvePoint]]:
    return {role: report.details[key].curve for role, key in keys(report).items()}


def _whisker(axes: Axes, place: int, role: str, model: ModelReport, report: FullReport) -> None:
    colour, quality = _colour(role, place), model.test.quality
    interval = model.test.intervals[report.compared_by]
    axes.plot([interval.low, interval.high], [place, place], color=colour, linewidth=2)
    axes.plot(quality, place, "o", color=colour, markersize=7)
    text = shown_quality(report, quality)
    axes.annotate(text, (quality, place), (0, 7), textcoords="offset points", ha="center")


def _line(
    axes: Axes, role: str, number: int, line: dict[int, float], colour: str | None = None
) -> None:
    axes.plot(
        list(line),
        list(line.values()),
        label=role,
        color=colour or _colour(role, number),
        linestyle=STYLES.get(role, "-"),
        linewidth=1.8 if role == "student" else 1.4,
        marker="o" if len(line) == 1 else None,
    )


def _epochs(axes: Axes, name: str) -> None:
    axes.set(xlabel="epoch", ylabel=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)


def _log_if_positive(axes: Axes, values: Sequence[float]) -> None:
    if min(values) <= 0:
        return
    axes.set_yscale("log")
    within_a_decade = max(values) < 10 * min(values)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5) if within_a_decade else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _shades(difference_CC: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return red, green, blue and opacity of each cell (C, C, 4): nothing where there is none."""
    most = max(1, int(np.abs(difference_CC).max()))
    shades = np.where(difference_CC[..., None] > 0, to_rgba(MORE), to_rgba(FEWER))
    shades[..., 3] = np.where(difference_CC == 0, 0, 0.15 + 0.7 * np.abs(difference_CC) / most)
    return shades


def _name_classes(axes: Axes, names: list[str]) -> None:
    axes.grid(visible=False)
    if len(names) > MOST_NAMED_CLASSES:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        return
    texts = [one_line(name) for name in names]
    upright = max(map(len, texts)) * len(texts) > MOST_NAMED_CLASSES
    axes.set_xticks(range(len(texts)), texts, rotation=90 if upright else 0)
    axes.set_yticks(range(len(texts)), texts)


def _colour(role: str, number: int) -> str:
    return COLOURS.get(role, OTHERS[number % len(OTHERS)])
