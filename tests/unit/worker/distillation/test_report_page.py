"""The page is whole, says what was measured, and is safe whatever things are called."""

import re
from functools import cache
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
import torch

from app.contracts.report import ExportedFile, FullReport, Interval, Repair, RepairedClass
from tests.unit.worker.distillation.reports import history_of, logits_with_errors, report_of
from worker.distillation import report_page as module
from worker.distillation.report_page import report_page

HOSTILE = [
    "</title><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "--><svg onload='alert(1)'>",
    "$\\frac{1}$ & {{ 7 * 7 }} {% raw %}",
    "\u4e2d\u6587 \u202e\x1b[31m\x00",
    ']]></style> xlink:href="#" url(//x)',
    "x" * 500,
]
NAMES = ["zero", "one", "two"]
LABELS = torch.arange(300) % 3
ERRORS = {"teacher": 15, "assistant_1": 30, "baseline": 75, "student": 45}


def classified(names: list[str] = NAMES, num_epochs: int = 5) -> FullReport:
    labels = torch.arange(300) % len(names)
    answers = {
        role: logits_with_errors(labels, errors, len(names)) for role, errors in ERRORS.items()
    }
    history = history_of(num_epochs) if num_epochs else None
    return report_of(answers, labels, names, history=history)


def numbers() -> FullReport:
    targets = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    answers = {role: targets + size / 100 for role, size in ERRORS.items()}
    return report_of(
        answers, targets, ["height", "width"], "regression", history_of(3, "regression")
    )


def labelled() -> FullReport:
    labels = (torch.arange(200).reshape(100, 2) % 3 == 0).float()
    labels[0, 0] = torch.nan
    answers = {role: (labels.nan_to_num() - 0.5) * size for role, size in ERRORS.items()}
    return report_of(answers, labels, ["x", "y"], "multi_label", history_of(3, "multi_label"))


class Page(HTMLParser):
    """Collects a page's tags with their attributes, its text, and what is left open."""

    VOID = ("meta", "link", "br", "img", "hr", "input")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@cache
def page_of(kind: str) -> str:
    made = {"classes": classified, "numbers": numbers, "labels": labelled}
    report = classified(HOSTILE) if kind == "hostile" else made[kind]()
    return report_page(report, HOSTILE[0] if kind == "hostile" else "my job")


KINDS = ["classes", "numbers", "labels", "hostile"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_tag_is_closed_and_every_id_is_single(kind: str) -> None:
    page = Page(page_of(kind))

    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = {attributes["href"] for attributes in page.all("use")}
    assert used <= {f"#{each}" for each in ids}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_loaded_and_nothing_runs(kind: str) -> None:
    page = Page(page_of(kind))

    forbidden = {"script", "link", "iframe", "object", "embed", "form", "base", "img", "a"}
    assert not forbidden & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), tag
            if name in {"href", "src", "srcset", "action", "data", "xlink:href"}:
                assert (value or "").startswith(("#", "data:image/png;base64,")), (tag, value)
            if name == "style":
                assert "url(" not in (value or "").replace("url(#", "")
    assert "default-src 'none'" in str(page.all("meta"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_plot_is_an_image_with_a_name_and_well_formed(kind: str) -> None:
    page = page_of(kind)

    plots = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(plots) >= 4
    for plot in plots:
        root = ET.fromstring(plot)  # noqa: S314 (our own)
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"]
        assert "http" not in re.sub(r'"data:[^"]*"', "", plot)


def test_names_are_shown_as_they_are() -> None:
    page = Page(page_of("hostile"))

    for name in [HOSTILE[0], HOSTILE[3]]:
        assert name in page.words


def test_the_page_says_what_was_measured() -> None:
    report = classified()
    words = " ".join(Page(page_of("classes")).words.split())

    assert "my job" in words
    assert "The student reaches accuracy 85.00% on test: +10.00 points beside the same" in words
    assert "That is 50% of the gap to the teacher (" in words
    assert "300 for this test" in words
    assert report.gain_interval is not None
    assert "45 of 300" in words
    interval = report.student.test.intervals["accuracy"]
    assert f"{interval.low:.2%} to {interval.high:.2%}" in words


def test_plots_are_of_what_the_task_has() -> None:
    def titles(kind: str) -> list[str | None]:
        return [each["aria-label"] for each in Page(page_of(kind)).all("svg")]

    of_all = [
        "How good each model is on test",
        "Validation by epoch",
        "Training loss by epoch",
        "The student's loss terms",
    ]
    assert titles("numbers") == of_all
    assert titles("labels") == [*of_all, "Reliability on test"]
    confusion = "Confusion on test: student less baseline"
    assert titles("classes") == [*of_all, "Reliability on test", confusion]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("classes", "accuracy"), ("labels", "macro F1"), ("numbers", "RMSE (standard deviations)")],
)
def test_the_curve_on_validation_is_of_what_chooses_the_epoch(kind: str, name: str) -> None:
    assert f"{name} on validation" in Page(page_of(kind)).words


def test_warnings_repaired_classes_and_files_are_listed() -> None:
    repaired = RepairedClass(
        name="<two>", bias=1.5, share_before=0, share_after=0.1, expected_share=0.125
    )
    file = ExportedFile(path="student/onnx/model.onnx", bytes=12_345, latency_p50_seconds=0.00125)
    report = classified(num_epochs=0).model_copy(
        update={
            "warnings": ["few <b>examples</b>"],
            "repair": Repair(classes=[repaired]),
            "exports": [file],
        }
    )

    words = Page(report_page(report, "job")).words

    assert "few <b>examples</b>" in words
    assert all(each in words for each in ("<two>", "+1.50", "12.50 %"))
    assert all(each in words for each in ("model.onnx", "12,345", "1.250 ms"))


def test_a_gain_below_zero_is_no_share_of_a_gap() -> None:
    report = classified(num_epochs=0).model_copy(
        update={"gain": -0.01, "gain_interval": Interval(low=-0.02, high=0), "gap_recovered": -0.5}
    )
    page = report_page(report, "job")

    assert "-1.00 points" in page
    assert "of the gap" not in page
    assert "conclusion warned" in page


def test_equal_reports_give_equal_pages() -> None:
    assert report_page(classified(), "my job") == page_of("classes")


def test_without_a_baseline_or_a_teacher_the_page_says_so() -> None:
    labels = torch.arange(30) % 3
    report = report_of({"student": logits_with_errors(labels, 3, 3)}, labels, NAMES)

    page = Page(report_page(report, "job"))

    assert "No baseline was trained" in page.words
    assert len(page.all("svg")) == 2  # quality and reliability


def test_the_table_of_very_many_classes_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_OUTPUTS_LISTED", 2)

    words = Page(report_page(classified(num_epochs=0), "job")).words

    assert "1 more are in report.json" in words


@pytest.mark.parametrize("num_classes", [30, 60])
def test_many_classes_still_make_a_plot(num_classes: int) -> None:
    page = report_page(classified([f"class {n}" for n in range(num_classes)], num_epochs=1), "job")

    assert "student less baseline" in page
