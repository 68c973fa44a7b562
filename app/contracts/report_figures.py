"""A report's figures as people read them: what each is called, and in which unit."""

from collections.abc import Callable

from app.contracts.report import Interval, ModelReport, Quality, Report

Cell = Callable[[ModelReport], str | None]

QUALITIES: dict[Quality, str] = {"accuracy": "accuracy", "macro_f1": "macro F1", "r2": "R2"}
INTERVAL = "95 % interval"


def roles(report: Report) -> dict[str, ModelReport]:
    """Return the models of a report by what they are, in the order of a table."""
    found = {"teacher": report.teacher}
    found |= {f"assistant {n}": model for n, model in enumerate(report.assistants, start=1)}
    found |= {"baseline": report.baseline, "student": report.student}
    return {role: model for role, model in found.items() if model is not None}


def figures(report: Report) -> dict[str, list[str]]:
    """Return each figure's name with its value of each of ``roles``, `-` where there is none.

    The interval stands below the score that models are compared by.
    """
    intervals = interval_cells(report)
    found = {}
    for name, cell in _FIGURES.items():
        cells = [cell(model) for model in roles(report).values()]
        if any(each is not None for each in cells):
            found[name] = ["-" if each is None else each for each in cells]
        if name in intervals and _SCORES[name][0] == report.compared_by:
            found[INTERVAL] = intervals[name]
    return found


def interval_cells(report: Report) -> dict[str, list[str]]:
    """Return the 95 % interval of each figure that has one, by its name, of each of ``roles``."""
    found = {}
    for name, (score, pattern) in _SCORES.items():
        intervals = [model.test.intervals.get(score) for model in roles(report).values()]
        if any(intervals):
            found[name] = [interval_text(each, pattern) if each else "-" for each in intervals]
    return found


def interval_text(interval: Interval, pattern: str) -> str:
    return f"{interval.low:{pattern}} to {interval.high:{pattern}}"


def shown_quality(report: Report, value: float) -> str:
    """Return a model's quality without its name."""
    return f"{value:.2%}" if report.compared_by == "accuracy" else f"{value:.3f}"


def shown_gain(report: Report, value: float) -> str:
    """Return a difference of qualities: of accuracies in points of a hundred."""
    return f"{100 * value:+.2f} points" if report.compared_by == "accuracy" else f"{value:+.3f}"


def shown_gain_interval(report: Report) -> str:
    """Return the gain's 95 % interval, in the units of ``shown_gain``."""
    assert report.gain_interval is not None  # noqa: S101 (every gain has one)
    low, high = report.gain_interval.low, report.gain_interval.high
    if report.compared_by == "accuracy":
        return f"{100 * low:+.2f} to {100 * high:+.2f}"
    return f"{low:+.3f} to {high:+.3f}"


def _score(name: str) -> Cell:
    score, pattern = _SCORES[name]

    def cell(model: ModelReport) -> str | None:
        return _number(pattern, getattr(model.test, score))

    return cell


def _errors(model: ModelReport) -> str | None:
    test = model.test
    if test.errors is None:
        return None
    if test.exact_match is not None:
        return f"{test.errors:,} labels"
    return f"{test.errors:,} of {test.num_examples:,}"


def _number(pattern: str, value: float | None, factor: float = 1) -> str | None:
    return None if value is None else format(value * factor, pattern)


_SCORES = {
    "test accuracy": ("accuracy", ".2%"),
    "R2": ("r2", ".3f"),
    "top-5 accuracy": ("top5_accuracy", ".2%"),
    "all labels right": ("exact_match", ".2%"),
    "macro F1": ("macro_f1", ".4f"),
    "RMSE": ("rmse", "#.4g"),
    "MAE": ("mae", "#.4g"),
    "log loss (nats)": ("log_loss", ".4f"),
    "calibration error": ("calibration_error", ".4f"),
}

_FIGURES: dict[str, Cell] = {
    "architecture": lambda model: model.architecture,
    "test accuracy": _score("test accuracy"),
    "R2": _score("R2"),
    "test errors": _errors,
    **{name: _score(name) for name in list(_SCORES)[2:]},
    "parameters": lambda model: _number(",", model.num_parameters),
    "FLOPs of one example": lambda model: _number(",", model.flops),
    "bytes": lambda model: _number(",", model.bytes),
    "latency (ms)": lambda model: _number(".3f", model.latency_seconds, 1000),
}
