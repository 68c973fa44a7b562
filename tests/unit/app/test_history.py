"""A job's events, metrics and logs over HTTP."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from app.contracts.job import JobError, Phase
from app.db import verbs
from app.db.models import JobLog, JobMetric
from app.db.session import database_now
from app.services import history
from tests.unit.app.conftest import JOBS, Api


def measure(api: Api, held: tuple[str, int], *points: tuple[str, int, float]) -> None:
    with api.database.write() as session:
        now = database_now(session)
        session.add_all(
            JobMetric(
                job_id=held[0], fence=held[1], name=name, step=step, value=value, created_at=now
            )
            for name, step, value in points
        )


def listed(api: Api, job_id: str, query: str = "") -> list[tuple[str, int, float]]:
    answer = api.client.get(f"{JOBS}/{job_id}/metrics?{query}").json()
    return [(point["name"], point["step"], point["value"]) for point in answer["data"]]


@pytest.fixture
def held(api: Api) -> tuple[str, int]:
    api.post_job()
    return api.claim()


def retry(api: Api, held: tuple[str, int]) -> tuple[str, int]:
    """Let an attempt fail and another begin."""
    error = JobError(code="crash", message="It fell.", phase=Phase.PREPARING, retryable=True)
    with api.database.write() as session:
        verbs.retry(session, verbs.hold(session, *held), error, 0)
    return api.claim()


def test_events_come_oldest_first_and_page_by_number(api: Api, held: tuple[str, int]) -> None:
    api.client.post(f"{JOBS}/{held[0]}/cancel")
    path = f"{JOBS}/{held[0]}/events"
    events = api.client.get(path).json()
    assert [(event["number"], event["type"]) for event in events["data"]] == [
        (1, "job.created"),
        (2, "job.claimed"),
        (3, "job.cancel_requested"),
    ]
    assert events["has_more"] is False
    assert events["first_id"] == events["data"][0]["id"] != events["last_id"]
    assert events["data"][1]["data"] == {"attempt": 1}
    middle = api.client.get(f"{path}?after=1&limit=1").json()
    assert [event["number"] for event in middle["data"]] == [2]
    assert middle["has_more"] is True


def test_the_last_id_of_a_page_of_events_gives_the_next_and_another_jobs_none(
    api: Api, held: tuple[str, int]
) -> None:
    path, other = f"{JOBS}/{held[0]}/events", api.post_job()["id"]
    first = api.client.get(path, params={"limit": 1}).json()
    rest = api.client.get(path, params={"after": first["last_id"]}).json()
    assert [event["number"] for event in first["data"] + rest["data"]] == [1, 2]
    for own in (path, path.replace("distillation", "fine_tuning")):
        foreign = api.client.get(own, params={"after": f"{other}.1"})
        assert (foreign.status_code, foreign.json()["error"]["param"]) == (404, "after")
        assert other in foreign.json()["detail"]


def test_metrics_are_chosen_by_name_and_by_both_ends_of_a_range(
    api: Api, held: tuple[str, int]
) -> None:
    points = [(name, step, step / 2) for step in (1, 2, 3) for name in ("a/loss", "b")]
    measure(api, held, *points)
    assert listed(api, held[0]) == points
    assert listed(api, held[0], "names=b&step_from=2") == [("b", 2, 1.0), ("b", 3, 1.5)]
    assert listed(api, held[0], "names=b,a/loss&step_from=1&step_to=1") == points[:2]
    assert listed(api, held[0], "names=a/loss&names=b&step_to=2") == points[:4]
    assert listed(api, held[0], "names=c") == []


def test_metrics_are_one_curve_over_the_attempts_where_the_last_value_counts(
    api: Api, held: tuple[str, int]
) -> None:
    measure(api, held, *(("loss", step, 1.0) for step in (1, 2, 3, 4)), ("accuracy", 3, 1.0))
    second = retry(api, held)
    assert [point[1] for point in listed(api, held[0], "names=loss")] == [1, 2, 3, 4]
    measure(api, second, *(("loss", step, 2.0) for step in (3, 4, 5)))
    third = retry(api, second)
    measure(api, third, ("loss", 4, 3.0))

    curve = [(1, 1.0), (2, 1.0), (3, 2.0), (4, 3.0), (5, 2.0)]
    assert listed(api, held[0], "names=loss") == [("loss", *point) for point in curve]
    assert listed(api, held[0], "step_from=3&step_to=3") == [("accuracy", 3, 1.0), ("loss", 3, 2.0)]
    csv = api.client.get(f"{JOBS}/{held[0]}/metrics?format=csv").text.splitlines()
    assert [line.rsplit(",", 1)[0] for line in csv[1:]] == [
        "loss,1,1.0",
        "loss,2,1.0",
        "accuracy,3,1.0",
        "loss,3,2.0",
        "loss,4,3.0",
        "loss,5,2.0",
    ]


def test_another_jobs_metrics_replace_none(api: Api, held: tuple[str, int]) -> None:
    measure(api, held, ("loss", 1, 1.0))
    api.post_job()
    other = retry(api, api.claim())
    measure(api, other, ("loss", 1, 2.0))
    assert listed(api, held[0]) == [("loss", 1, 1.0)]


@settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    points=st.lists(
        st.tuples(st.integers(1, 3), st.sampled_from(["a", "b", "c"]), st.integers(0, 6)),
        unique=True,
    ),
    size=st.integers(1, 5),
)
def test_pages_of_whole_steps_give_each_point_once_with_the_value_of_its_last_attempt(
    api: Api, held: tuple[str, int], points: list[tuple[int, str, int]], size: int
) -> None:
    expected: dict[tuple[int, str], float] = {}
    for fence, name, step in sorted(points):
        expected[step, name] = float(fence)
    with api.database.write() as session:
        session.execute(delete(JobMetric))
    for fence, name, step in points:
        measure(api, (held[0], fence), (name, step, float(fence)))

    read, step_from, has_more = [], 0, True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "MOST_POINTS", size)
        while has_more:
            page = api.client.get(f"{JOBS}/{held[0]}/metrics?step_from={step_from}").json()
            has_more = page["has_more"]
            read += [(point["step"], point["name"], point["value"]) for point in page["data"]]
            step_from = read[-1][0] + 1 if read else 0

    assert read == [(step, name, value) for (step, name), value in sorted(expected.items())]


def test_a_log_is_the_latest_attempts_or_that_of_the_one_asked_for(
    api: Api, held: tuple[str, int]
) -> None:
    path = f"{JOBS}/{held[0]}/logs"
    write_log(api, held, "old\n")
    second = retry(api, held)
    assert api.client.get(path).text == ""
    write_log(api, second, "new\n")
    assert api.client.get(path).text == api.client.get(f"{path}?attempt=2").text == "new\n"
    assert api.client.get(f"{path}?attempt=1&tail=1").text == "old\n"
    never = api.client.get(f"{path}?attempt=3")
    assert (never.status_code, "has had 2" in never.json()["detail"]) == (404, True)
    assert api.client.get(f"{path}?attempt=0").status_code == 400


def test_metrics_come_as_csv(api: Api, held: tuple[str, int]) -> None:
    measure(api, held, ("odd,name", 1, 0.5), ("loss", 2, 0.25))
    answer = api.client.get(f"{JOBS}/{held[0]}/metrics?format=csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    lines = answer.text.splitlines()
    assert lines[0] == "name,step,value,created_at"
    assert lines[1].startswith('"odd,name",1,0.5,20')
    assert lines[2].startswith("loss,2,0.25,20")


def test_a_page_of_metrics_ends_with_a_whole_step_and_csv_has_all(
    api: Api, held: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MOST_POINTS", 3)
    points = [(name, step, 0.0) for step in (1, 2) for name in "ab"]
    points += [(name, 3, 0.0) for name in "abcde"]
    measure(api, held, *points)
    path = f"{JOBS}/{held[0]}/metrics"
    first = api.client.get(path).json()
    assert ([point["step"] for point in first["data"]], first["has_more"]) == ([1, 1], True)
    third = api.client.get(f"{path}?step_from=3").json()
    assert [point["name"] for point in third["data"]] == list("abcde")
    assert len(api.client.get(f"{path}?format=csv").text.splitlines()) == 1 + len(points)


def write_log(api: Api, held: tuple[str, int], *pieces: str) -> None:
    with api.database.write() as session:
        now = database_now(session)
        session.add_all(
            JobLog(job_id=held[0], fence=held[1], number=number, text=piece, created_at=now)
            for number, piece in enumerate(pieces, 1)
        )


def test_a_log_is_its_pieces_in_order_or_its_last_lines(api: Api, held: tuple[str, int]) -> None:
    path = f"{JOBS}/{held[0]}/logs"
    assert api.client.get(path).text == ""
    write_log(api, held, "one\ntwo", " and more\nthree\x0cthree\nfour")
    answer = api.client.get(path)
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text == "one\ntwo and more\nthree\x0cthree\nfour"
    assert api.client.get(f"{path}?tail=2").text == "three\x0cthree\nfour"
    assert api.client.get(f"{path}?tail=99").text == answer.text
    assert api.client.get(f"{path}?tail=0").status_code == 400
