"""The audit log: one entry for each change, with the change or not at all."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from app.db.audit import AuditEntry
from app.db.session import database_now
from app.services import audit, deletion, key_text
from app.services.refusals import MOST_KINDS, Refusal, Refusals
from tests.unit.app.conftest import JOBS, Api, spec
from tests.unit.app.matrix import World, routes_of
from tests.unit.app.routes_told import ACTIONS


def entries(api: Api, **wanted: Any) -> list[dict[str, Any]]:  # noqa: ANN401 (query parameters)
    answer = api.client.get("/v1/audit", params={"limit": 100, **wanted})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def count(api: Api) -> int:
    with api.database.read() as session:
        return session.scalars(select(func.count()).select_from(AuditEntry)).one()


def test_every_route_that_changes_something_leaves_one_entry(api: Api) -> None:
    world = World(api)
    key_id = f"key-{key_text.read(api.client.headers['Authorization'].split()[1])}"
    for route in routes_of(api.app):
        if not route.changes:
            continue
        things = world.new_things(route)
        before = count(api)
        answer = world.call(route, things, {"X-Request-Id": f"request-{route.name}"})
        assert answer.is_success, f"{route}: {answer.text}"
        assert count(api) == before + 1, f"{route} changes something: let it call audit.note"
        entry = entries(api, everywhere=True, limit=1)[0]
        assert entry["request_id"] == f"request-{route.name}"
        assert entry["action"] == ACTIONS[route.name]
        assert (entry["key_id"], entry["address"]) == (key_id, "testclient"), route
        assert (entry["outcome"], entry["count"]) == ("done", 1)
        named = [thing for name, thing in things.items() if name != "path"]
        made = answer.json().get("id") if answer.content else None
        assert entry["target_id"] in {made, *named}, route


def test_what_is_refused_or_replayed_leaves_no_entry_of_a_change(api: Api) -> None:
    once = {"Idempotency-Key": "one"}
    job_id = api.client.post(JOBS, json=spec(), headers=once).json()["id"]
    before = count(api)

    assert api.client.post(JOBS, json=spec(), headers=once).status_code == 201
    assert api.client.post(JOBS, json={}).status_code == 422
    assert api.client.post(f"{JOBS}?validate_only=true", json=spec()).status_code == 200
    assert api.client.delete(f"{JOBS}/{job_id}").status_code == 409
    assert count(api) == before


def test_a_change_that_is_undone_leaves_no_entry(api: Api) -> None:
    job_id = api.post_job()["id"]
    api.client.post(f"{JOBS}/{job_id}/cancel")
    before = count(api)
    with api.database.read() as session:
        project_id = session.scalars(select(AuditEntry.project_id)).first()
    assert project_id is not None

    with suppress(ConnectionError), api.database.write() as session:
        audit.note(session, project_id, "job.delete", job_id)
        session.flush()
        raise ConnectionError

    assert count(api) == before
    deletion.delete_job(api.database, project_id, job_id)
    (entry,) = entries(api, action="job.delete")
    # Outside of a request it is an operator's.
    assert (entry["key_id"], entry["address"], entry["request_id"]) == (None, None, None)


def test_entries_are_filtered_and_paged(api: Api) -> None:
    jobs = [api.post_job()["id"] for _ in range(3)]
    api.client.post(f"{JOBS}/{jobs[0]}/cancel")

    assert [one["target_id"] for one in entries(api, action="job.create")] == jobs[::-1]
    both = entries(api, target_id=jobs[0])
    assert [one["action"] for one in both] == ["job.cancel", "job.create"]
    assert entries(api, key_id="nobody's") == []
    assert entries(api, since=(datetime.now(UTC) + timedelta(hours=1)).isoformat()) == []
    assert len(entries(api, until=datetime.now(UTC).isoformat())) == count(api)
    page = api.client.get("/v1/audit?limit=2").json()
    rest = api.client.get(f"/v1/audit?limit=2&after={page['last_id']}").json()
    ids = [one["id"] for one in page["data"] + rest["data"]]
    assert (len(ids), sorted(ids, reverse=True)) == (4, ids)


def test_a_project_reads_its_own_entries_alone(api: Api) -> None:
    api.post_job()
    other = api.key("admin", project="other")

    theirs = api.client.get("/v1/audit", headers=other).json()["data"]
    assert {one["action"] for one in theirs} == {"project.create", "api_key.create"}
    assert api.client.get("/v1/audit?everywhere=true", headers=other).status_code == 403
    everything = api.client.get("/v1/audit?everywhere=true&limit=100").json()["data"]
    assert len(everything) == count(api) > len(theirs)


def test_refused_requests_are_counted_and_not_listed_one_by_one(api: Api) -> None:
    reader = api.key("jobs:read")
    for _ in range(3):
        api.client.post(JOBS, json=spec(), headers=reader)
        api.client.get(JOBS, headers={"Authorization": "Bearer made-up"})
    revoked = api.key("jobs:read")
    key_id = f"key-{key_text.read(revoked['Authorization'].split()[1])}"
    api.client.delete(f"/v1/api_keys/{key_id}")
    api.client.get(JOBS, headers=revoked)
    before = count(api)
    api.app.state.gate.refusals.write(api.database)
    api.app.state.gate.refusals.write(api.database)

    assert count(api) == before + 3
    mine = {one["key_id"]: one for one in entries(api, outcome="refused")}
    reader_id = f"key-{key_text.read(reader['Authorization'].split()[1])}"
    assert set(mine) == {key_id, reader_id}
    assert (mine[reader_id]["action"], mine[reader_id]["count"]) == ("missing_scope", 3)
    assert (mine[key_id]["action"], mine[key_id]["count"]) == ("invalid_api_key", 1)
    everywhere = api.client.get("/v1/audit?everywhere=true&outcome=refused&limit=100").json()
    (stranger,) = [one for one in everywhere["data"] if one["project_id"] is None]
    assert (stranger["count"], stranger["address"]) == (3, "testclient")


def test_strangers_from_many_addresses_make_few_rows(api: Api) -> None:
    refusals = Refusals()
    for number in range(MOST_KINDS + 500):
        refusals.count(Refusal("invalid_api_key", None, None, f"10.0.{number // 256}.{number}"))
    before = count(api)
    refusals.write(api.database)

    assert count(api) == before + MOST_KINDS + 1
    with api.database.read() as session:
        rest = session.scalars(
            select(AuditEntry.count).where(
                AuditEntry.address.is_(None), AuditEntry.outcome == "refused"
            )
        ).one()
    assert rest == 500


def test_refusals_outlast_a_database_that_is_away(api: Api) -> None:
    refusals = Refusals()
    refusals.count(Refusal("invalid_api_key", None, None, None))
    before = count(api)
    AuditEntry.metadata.tables["audit_entries"].drop(api.database.engine)
    refusals.write(api.database)
    AuditEntry.metadata.create_all(api.database.engine)
    assert count(api) == 0 < before
    refusals.write(api.database)

    assert count(api) == 1


def test_old_entries_are_removed(api: Api) -> None:
    api.post_job()
    with api.database.write() as session:
        oldest = session.scalars(select(AuditEntry).order_by(AuditEntry.id)).first()
        assert oldest is not None
        oldest.created_at = database_now(session) - timedelta(days=31)
        old_id = oldest.id
    before = count(api)

    audit.forget_old(api.database, 32)
    assert count(api) == before
    audit.forget_old(api.database, 30)
    assert count(api) == before - 1
    assert old_id not in [one["id"] for one in entries(api)]
