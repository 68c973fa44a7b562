"""What a fault run reaches is counted and added up, and its modules stay small."""

from pathlib import Path

import pytest

from tests.faults import outcome
from tests.faults.outcome import Figure, Outcome
from tests.faults.plans import FULL, QUICK, ROWS
from tests.faults.prove import SABOTAGES

FOLDER = Path(outcome.__file__).parent


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.name)
def test_modules_stay_small_and_say_what_they_are(path: Path) -> None:
    text = path.read_text()

    assert len(text.splitlines()) < 300
    assert text.startswith('"""')
    # What pytest would collect belongs elsewhere.
    assert not path.name.startswith("test_")


def test_every_row_has_its_quick_and_its_full_counts() -> None:
    assert {row for row, _ in FULL} == set(ROWS)
    assert {row for row, _ in QUICK} <= set(ROWS)


def test_every_sabotage_has_a_row_that_must_notice_it() -> None:
    folders = {path.parent.name for path in FOLDER.glob("sabotage/*/sitecustomize.py")}

    assert folders == set(SABOTAGES)
    assert {row for row, _ in SABOTAGES.values()} <= set(ROWS)


def test_runs_of_one_row_add_up(tmp_path: Path) -> None:
    file = tmp_path / "runs"
    for seed, samples in enumerate([[1.0, 2.0], [9.0]]):
        figures = {"late": Figure(samples, 5.0)}
        run = Outcome("stop", "sqlite", seed, 10, 20, 1.5, ["lost"], figures, {"cuts": 2})
        outcome.append(run, file)
    outcome.append(Outcome("stop", "postgres", 3, 1, 1, 1.0), file)

    first, second = outcome.added_up(outcome.read(file))

    assert (first.jobs, first.faults, first.seconds) == (20, 40, 3.0)
    assert (first.complaints, first.counts) == (["lost", "lost"], {"cuts": 4})
    assert first.figures["late"] == Figure([1.0, 2.0, 9.0], 5.0)
    assert not first.is_good
    assert second.is_good
    assert "p99 9.0 s of 3 (OVER 5 s)" in outcome.table([first])


def test_a_percentile_is_a_sample_that_was_measured() -> None:
    figure = Figure([float(number) for number in range(1, 201)], limit=198)

    assert figure.quantile(0.5) == 100
    assert figure.quantile(0.99) == 198
    assert figure.is_met
    assert not Figure([1.0, 199.0], 198).is_met
