"""Long series with few points over HTTP."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contracts.job import MetricPoint
from app.services.sampling import Series, sample
from tests.unit.app.conftest import JOBS, Api
from tests.unit.app.test_history import listed, measure, retry

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def held(api: Api) -> tuple[str, int]:
    api.post_job()
    return api.claim()


@given(
    st.dictionaries(st.integers(0, 2**62), st.floats(allow_nan=False), min_size=5, max_size=200),
    st.integers(4, 40),
)
def test_ends_and_extremes_are_kept_and_no_point_is_made_up(
    values: dict[int, float], most: int
) -> None:
    points = [
        MetricPoint(name="a", step=s, value=values[s], created_at=NOW) for s in sorted(values)
    ]
    kept = sample(points, {"a": Series(points[0].step, points[-1].step, most)})
    assert len(kept) <= most
    assert [point.step for point in kept] == sorted({point.step for point in kept})
    assert all(values[point.step] == point.value for point in kept)
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    kept_values = [point.value for point in kept]
    assert (min(kept_values), max(kept_values)) == (min(values.values()), max(values.values()))


def test_a_long_series_is_thinned_and_a_short_one_whole(api: Api, held: tuple[str, int]) -> None:
    shape = {step: math.sin(step / 300) for step in range(3000)}
    shape[1234], shape[1235] = -9.0, 9.0
    measure(api, held, *(("long", *pair) for pair in shape.items()))
    measure(api, held, *(("short", step, 0.5) for step in range(20)))
    points = listed(api, held[0], "resolution=20")
    long = [point for point in points if point[0] == "long"]
    assert len(long) == 20
    assert {(1234, -9.0), (1235, 9.0), (0, 0.0), (2999, shape[2999])} <= {p[1:] for p in long}
    assert sum(point[0] == "short" for point in points) == 20
    some = listed(api, held[0], "resolution=4&names=long&step_from=1235&step_to=2000")
    assert (some[0], len(some)) == (("long", 1235, 9.0), 4)


def test_only_the_curve_that_counts_is_thinned(api: Api, held: tuple[str, int]) -> None:
    measure(api, held, *(("loss", step, 100.0) for step in range(100)))
    second = retry(api, held)
    measure(api, second, *(("loss", step, step % 7 / 10) for step in range(100)))
    assert max(value for _, _, value in listed(api, held[0], "resolution=10")) < 1


@pytest.mark.parametrize("resolution", ["", "&resolution=4"])
def test_csv_comes_by_format_or_by_what_is_accepted(
    api: Api, held: tuple[str, int], resolution: str
) -> None:
    measure(api, held, *(("loss", step, float(step)) for step in range(9)))
    path = f"{JOBS}/{held[0]}/metrics"
    asked = api.client.get(f"{path}?format=csv{resolution}")
    accepted = api.client.get(f"{path}?names=loss{resolution}", headers={"Accept": "text/csv"})
    assert asked.text == accepted.text
    assert asked.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert len(asked.text.splitlines()) == (5 if resolution else 10)
    both = api.client.get(f"{path}?format=json", headers={"Accept": "text/csv"})
    assert both.json()["object"] == "list"
    assert api.client.get(f"{path}?resolution=3").status_code == 400
