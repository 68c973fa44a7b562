"""What the command line says of a result is what was measured, also when it did not help."""

import pytest
from rich.console import Console

from app.cli.client import Refused
from app.cli.download import _safe
from app.cli.result import conclusion, print_result
from app.contracts.report import Interval, ModelReport, Report, Scores
from tests.unit.app.served import report


def test_the_table_has_a_column_for_each_model() -> None:
    console = Console(width=120)
    with console.capture() as captured:
        print_result(console, report())

    text = captured.get()
    assert all(name in text for name in ("teacher", "baseline", "student"))
    assert "90.00%" in text
    assert "20,000" in text


def test_a_gain_is_told_with_its_share_of_the_gap() -> None:
    said = conclusion(report(student_errors=20, baseline_errors=30))

    assert "Distilling helped: the student makes 20 test errors" in said
    assert "teacher 30, 50% of the gap" in said
    assert said.startswith("The student has 10.0% of the teacher's parameters. ")


def test_a_gain_that_may_be_chance_is_said_to_be() -> None:
    sure = report(student_errors=20, baseline_errors=30)
    unsure = sure.model_copy(update={"gain_interval": Interval(low=-0.01, high=0.2)})

    assert "chance" not in conclusion(sure)
    assert "On 100 test examples that may be chance." in conclusion(unsure)


def test_a_gain_in_another_figure_is_told_by_its_name() -> None:
    def model(r2: float) -> ModelReport:
        return ModelReport(test=Scores(num_examples=9, quality=r2, r2=r2, rmse=3.5))

    measured = Report(
        task="regression",
        compared_by="r2",
        teacher=None,
        baseline=model(0.5),
        student=model(0.625),
        fidelity=None,
        num_examples={"test": 9},
        output_names=["price"],
    )
    console = Console(width=120)
    with console.capture() as captured:
        print_result(console, measured)

    assert "the student reaches R2 0.625, the same model trained without a teacher 0.500." in (
        captured.get()
    )
    assert "RMSE" in captured.get()
    assert "accuracy" not in captured.get()


@pytest.mark.parametrize("student_errors", [30, 31])
def test_no_gain_is_said_plainly(student_errors: int) -> None:
    said = conclusion(report(student_errors=student_errors, baseline_errors=30))

    assert "Distilling did not help" in said


def test_without_a_baseline_no_gain_is_claimed() -> None:
    assert "not known" in conclusion(report(baseline_errors=None))


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "", "a\\..\\x", "."])
def test_a_service_cannot_make_a_client_write_elsewhere(path: str) -> None:
    with pytest.raises(Refused):
        _safe(path)
