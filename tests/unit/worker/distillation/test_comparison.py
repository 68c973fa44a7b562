"""What a report concludes from models of known answers."""

from pathlib import Path

import pytest
import torch

from app.contracts.report import FullReport, Interval, Repair, RepairedClass
from tests.unit.worker.distillation.reports import logits_with_errors, report_of
from worker.distillation.comparison import REPAIR_FILE, _read, _share_interval

NAMES = ["a", "b", "c"]
LABELS = torch.arange(300) % 3


def classified(**errors: int) -> FullReport:
    answers = {role: logits_with_errors(LABELS, each, 3) for role, each in errors.items()}
    return report_of(answers, LABELS, NAMES)


def test_the_gain_and_the_share_of_the_gap_come_with_their_intervals() -> None:
    report = classified(teacher=15, baseline=75, student=45)

    assert report.gain == pytest.approx(0.1)
    assert report.gap_recovered == pytest.approx(0.5)
    # The baseline is wrong on 30 examples more, so the gain's deviation is sqrt(0.1 * 0.9 / 300).
    assert report.gain_interval is not None
    assert report.gain_interval.low == pytest.approx(0.1 - 1.96 * 0.0173, abs=0.004)
    assert report.gain_interval.high == pytest.approx(0.1 + 1.96 * 0.0173, abs=0.004)
    assert report.gap_interval is not None
    assert 0.3 < report.gap_interval.low < 0.45
    assert 0.55 < report.gap_interval.high < 0.7
    assert report.warnings == []


def test_every_score_of_test_has_an_interval_around_it() -> None:
    scores = classified(teacher=15, baseline=75, student=45).student.test

    assert set(scores.intervals) == {"accuracy", "macro_f1", "log_loss", "calibration_error"}
    for name in ("accuracy", "macro_f1", "log_loss"):
        assert scores.intervals[name].low < getattr(scores, name) < scores.intervals[name].high


def test_a_gain_that_may_be_chance_is_warned_of() -> None:
    report = classified(teacher=3, baseline=46, student=45)

    (warning,) = report.warnings
    assert warning == (
        "The gain (85.00% on test, 84.67% without a teacher) is not told apart from chance on 300 "
        "test examples: its 95 % interval is +0.00 to +1.00."
    )


def test_where_the_gap_may_be_chance_its_share_has_no_interval() -> None:
    report = classified(teacher=44, baseline=45, student=30)

    assert report.gap_recovered == pytest.approx(15)
    assert report.gap_interval is None


def test_samples_without_a_gap_are_left_out_of_its_share() -> None:
    gap_R = torch.full((1000,), 0.2).double().numpy()
    gap_R[:10] = 0
    assert _share_interval(gap_R / 2, gap_R) == Interval(low=0.5, high=0.5)


def test_without_a_teacher_there_is_neither_fidelity_nor_a_gap() -> None:
    report = classified(baseline=75, student=45)

    assert (report.teacher, report.fidelity, report.gap_recovered) == (None, None, None)
    assert (report.compression, report.speedup) == (None, None)
    assert report.gain == pytest.approx(0.1)
    assert report.warnings == []


def test_assistants_are_reported_in_their_order() -> None:
    report = classified(teacher=3, assistant_1=6, assistant_2=9, baseline=75, student=45)

    assert [each.test.errors for each in report.assistants] == [6, 9]


def test_labels_are_compared_by_macro_f1_and_numbers_by_r2() -> None:
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    good, bad = 2 * labels - 1, torch.ones(3, 2)
    of_labels = report_of({"baseline": bad, "student": good}, labels, ["x", "y"], "multi_label")
    of_numbers = report_of({"baseline": bad, "student": labels}, labels, ["x", "y"], "regression")

    # Always yes: two hits and a false alarm of each label, an F1 of 4/5. Always 1: a squared error
    # of 1 where the squares around the mean of 2/3 sum to 2/3, an R2 of -1/2.
    assert (of_labels.compared_by, of_numbers.compared_by) == ("macro_f1", "r2")
    assert [of_labels.gain, of_numbers.gain] == pytest.approx([1 / 5, 3 / 2])


def test_what_a_repair_left_is_read_where_there_is_one(tmp_path: Path) -> None:
    classes = [RepairedClass(name="a", bias=1, share_before=0, share_after=0.1, expected_share=0.1)]
    assert _read(Repair, tmp_path / REPAIR_FILE) is None
    (tmp_path / REPAIR_FILE).write_text(Repair(classes=classes).model_dump_json())
    assert _read(Repair, tmp_path / REPAIR_FILE) == Repair(classes=classes)
