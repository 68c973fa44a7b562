"""Long series shown with few points: the least and the greatest of each stretch of steps."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sqlalchemy import func, select

from app.contracts.job import MetricPoint
from app.contracts.registry import Page
from app.db.models import Job
from app.db.session import Database
from app.services.history import Wanted, curve
from app.services.ownership import find

ROWS_AT_ONCE = 5000


@dataclass
class Series:
    """One series on its way to at most ``most`` points: its ends, and two of each stretch.

    The least and the greatest value of the whole are those of some stretch, so they are kept.
    """

    first_step: int
    last_step: int
    most: int
    ends: list[MetricPoint] = field(default_factory=list)
    stretches: dict[int, list[MetricPoint]] = field(default_factory=dict)

    def add(self, point: MetricPoint) -> None:
        if point.step in {self.first_step, self.last_step}:
            self.ends.append(point)
            return
        num_stretches = (self.most - 2) // 2
        width = self.last_step - self.first_step + 1
        number = (point.step - self.first_step) * num_stretches // width
        least, greatest = self.stretches.setdefault(number, [point, point])
        if point.value < least.value:
            self.stretches[number][0] = point
        if point.value > greatest.value:
            self.stretches[number][1] = point

    def points(self) -> Iterator[MetricPoint]:
        yield from self.ends
        for least, greatest in self.stretches.values():
            yield least
            if greatest is not least:
                yield greatest


def sample(points: Iterable[MetricPoint], long: dict[str, Series]) -> list[MetricPoint]:
    """Keep all points of the series that are not long, and few of the others, by step."""
    kept = []
    for point in points:
        series = long.get(point.name)
        if series is None:
            kept.append(point)
        else:
            series.add(point)
    for series in long.values():
        kept += series.points()
    return sorted(kept, key=lambda point: (point.step, point.name))


def sample_metrics(
    database: Database, project_id: str, job_id: str, wanted: Wanted, resolution: int
) -> Page[MetricPoint]:
    """Give what a job measured with at most ``resolution`` points a series, 4 or more.

    Kept are points that were measured: first and last, least and greatest of equal stretches.
    """
    with database.read(in_pieces=True) as session:
        job = find(session, Job, project_id, job_id)
        measured = curve(job, wanted).order_by(None).subquery()
        counts = session.execute(
            select(
                measured.c.name, func.min(measured.c.step), func.max(measured.c.step), func.count()
            ).group_by(measured.c.name)
        )
        long = {
            name: Series(first, last, resolution)
            for name, first, last, num_points in counts
            if num_points > resolution
        }
        whole = curve(job, wanted).subquery()
        rows = session.execute(
            select(whole.c.name, whole.c.step, whole.c.value, whole.c.created_at)
            .order_by(whole.c.step, whole.c.name)
            .execution_options(yield_per=ROWS_AT_ONCE)
        )
        measured_points = (
            MetricPoint(name=name, step=step, value=value, created_at=created_at)
            for name, step, value, created_at in rows
        )
        points = sample(measured_points, long)
    return Page[MetricPoint](data=points, has_more=False, first_id=None, last_id=None)
