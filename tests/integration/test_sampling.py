"""A long series is thinned while its rows come piece by piece, on both databases."""

import pytest
from sqlalchemy import insert

from app.db.models import JobMetric
from app.db.session import Database, database_now
from app.services import sampling
from app.services.history import Wanted
from tests.jobs import PROJECT_ID, claimed, queued

NUM_STEPS = 1000


def test_a_series_of_many_pieces_keeps_its_ends_and_its_extremes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "ROWS_AT_ONCE", NUM_STEPS // 7)
    queued(database)
    job = claimed(database)
    values = {step: step % 10 / 10 for step in range(NUM_STEPS)} | {321: -9.0, 654: 9.0}
    with database.write() as session:
        row = {"job_id": job.id, "fence": job.fence, "name": "loss"}
        now = database_now(session)
        session.execute(
            insert(JobMetric),
            [{**row, "step": step, "value": values[step], "created_at": now} for step in values],
        )

    page = sampling.sample_metrics(database, PROJECT_ID, job.id, Wanted(), 20)

    kept = {point.step: point.value for point in page.data}
    assert len(kept) == 20
    assert kept.items() <= values.items()
    assert {0, 321, 654, NUM_STEPS - 1} <= kept.keys()
