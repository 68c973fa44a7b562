"""One curve of metrics over several attempts, on both databases."""

import itertools

import pytest

from app.db.models import JobMetric
from app.db.session import Database, database_now
from app.services import history
from tests.jobs import PROJECT_ID, queued


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_where_several_attempts_measured_a_step_the_last_value_counts(
    database: Database, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(history, "MOST_POINTS", most)
    job_id, other = queued(database), queued(database)
    measured = {1: range(1, 7), 2: range(4, 9), 4: range(6, 8)}
    with database.write() as session:
        now = database_now(session)
        session.add_all(
            JobMetric(job_id=job_id, fence=fence, name=name, step=step, value=fence, created_at=now)
            for fence, steps in measured.items()
            for step, name in itertools.product(steps, ("accuracy", "loss"))
        )
        session.add(JobMetric(job_id=other, fence=9, name="loss", step=1, value=9, created_at=now))

    def curve(*names: str, first: int | None = None, last: int | None = None) -> list[float]:
        wanted = history.Wanted(names, first, last)
        points = list(history.iterate_metrics(database, PROJECT_ID, job_id, wanted))
        assert [(point.step, point.name) for point in points] == sorted(
            {(point.step, point.name) for point in points}
        )
        return [point.value for point in points if point.name == "loss"]

    assert curve() == curve("loss") == [1, 1, 1, 2, 2, 4, 4, 2]
    assert curve("loss", first=3, last=6) == [1, 2, 2, 4]
    assert curve("accuracy") == []
