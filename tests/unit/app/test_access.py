"""The authorization matrix: every route of the application, and everyone who may not call it.

The routes are found, not listed: one that is new is held to this, and fails where ``matrix.py``
does not say how to call it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from app.contracts.requests import PROJECT_SCOPES, SCOPES, Scope
from app.db.models import ApiKey
from app.services import key_text
from tests.unit.app.conftest import JOBS, Api
from tests.unit.app.matrix import MARK, Route, World, routes_of
from tests.unit.app.routes_told import SCOPES as SCOPES_TOLD

OPEN = {"/healthz", "/readyz", "/openapi.json"}
GOOD = {200, 201, 204}


@pytest.fixture
def world(api: Api) -> World:
    return World(api)


def closed(api: Api) -> list[Route]:
    return [route for route in routes_of(api.app) if not route.is_open]


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def unguarded(world: World, headers: dict[str, str], status: int) -> list[str]:
    """Call every route on things that exist; tell which do not answer with ``status`` alone."""
    wrong = []
    for route in closed(world.api):
        things = world.things(route)
        with without_a_key(world.api):
            answer = world.call(route, things, headers)
        if answer.status_code != status or MARK in answer.text:
            wrong.append(f"{route}: {answer.status_code} {answer.text}")
    return wrong


@contextmanager
def without_a_key(api: Api) -> Iterator[None]:
    key = api.client.headers.pop("Authorization")
    yield
    api.client.headers["Authorization"] = key


def test_every_route_declares_one_scope_or_that_it_is_open(api: Api) -> None:
    routes = routes_of(api.app)
    assert len(routes) > 40
    for route in routes:
        assert len(route.says) == 1, route
        assert route.is_open == (route.path in OPEN), route


def test_every_route_needs_what_is_written_down_of_it(api: Api) -> None:
    found: dict[str, list[str]] = {}
    for route in routes_of(api.app):
        found.setdefault("open" if route.is_open else route.scope, []).append(route.name)
    assert {scope: sorted(names) for scope, names in found.items()} == {
        scope: sorted(names) for scope, names in SCOPES_TOLD.items()
    }


def test_without_a_key_there_is_no_answer_but_401(world: World) -> None:
    assert unguarded(world, {}, 401) == []


@pytest.mark.parametrize(
    "key",
    ["x", "shk_0", key_text.write("0" * 32)[:-1] + "!", key_text.write("0" * 32)],
    ids=["no key at all", "cut short", "a wrong checksum", "never made"],
)
def test_a_key_that_is_none_is_answered_with_401_everywhere(world: World, key: str) -> None:
    assert unguarded(world, bearer(key), 401) == []


def test_a_revoked_key_is_answered_with_401_everywhere(world: World) -> None:
    headers = world.api.key()
    key_id = f"key-{key_text.read(headers['Authorization'].split()[1])}"
    assert world.api.client.delete(f"/v1/api_keys/{key_id}").status_code == 200

    assert unguarded(world, headers, 401) == []


def test_an_expired_key_is_answered_with_401_everywhere(world: World) -> None:
    headers = world.api.key()
    with world.api.database.write() as session:
        row = session.get_one(ApiKey, f"key-{key_text.read(headers['Authorization'].split()[1])}")
        row.expires_at = datetime.now(UTC) - timedelta(seconds=1)

    assert unguarded(world, headers, 401) == []


def test_a_key_with_every_scope_but_the_right_one_is_answered_with_403(world: World) -> None:
    others = {scope: world.api.key(*(one for one in SCOPES if one != scope)) for scope in SCOPES}
    for route in closed(world.api):
        answer = world.call(route, world.things(route), others[route.scope])
        assert answer.status_code == 403, route
        assert MARK not in answer.text, route


def test_a_key_with_only_the_right_scope_is_let_in(world: World) -> None:
    keys: dict[Scope, dict[str, str]] = {scope: world.api.key(scope) for scope in SCOPES}
    keys["projects:admin"] = world.api.key("projects:admin", "jobs:read")
    for route in closed(world.api):
        answer = world.call(route, world.new_things(route), keys[route.scope])
        assert answer.status_code in GOOD, f"{route}: {answer.text}"


def test_another_projects_things_look_like_things_that_do_not_exist(world: World) -> None:
    foreign = world.api.key(*PROJECT_SCOPES, project="other")
    for route in closed(world.api):
        if not route.names_things:
            continue
        things = world.things(route)
        if not route.changes:
            assert world.call(route, things, {}).status_code == 200, f"{route}: not even its own"
        answer = world.call(route, things, foreign)
        unknown = {name: value if name == "path" else "unknown" for name, value in things.items()}
        nothing = world.call(route, unknown, foreign)
        expected = 403 if route.scope == "projects:admin" else 404
        assert answer.status_code == nothing.status_code == expected, f"{route}: {answer.text}"
        assert MARK not in answer.text, route
        if answer.content:
            own = {"instance", "request_id"}
            one, other = answer.json(), nothing.json()
            assert {n: v for n, v in one.items() if n not in own} == {
                n: v for n, v in other.items() if n not in own
            }, route


def test_a_list_has_nothing_of_another_project(world: World) -> None:
    foreign = world.api.key(*PROJECT_SCOPES, project="other")
    asked = 0
    for route in closed(world.api):
        world.things(route)
        if route.changes or route.names_things or route.scope == "projects:admin":
            continue
        answer = world.call(route, {}, foreign)
        assert answer.status_code == 200, route
        assert MARK not in answer.text, route
        assert world.project_id not in answer.text, route
        asked += 1
    assert asked >= 7


def test_a_thing_of_another_project_is_not_reached_through_one_of_ones_own(world: World) -> None:
    api = world.api
    mine = api.client.get("/v1/projects?limit=1").json()["data"][0]["id"]
    api.key(project="other")
    theirs = next(
        one["id"] for one in api.client.get("/v1/projects").json()["data"] if one["id"] != mine
    )
    key_id = api.client.get("/v1/api_keys").json()["data"][0]["id"]

    assert api.client.delete(f"/v1/projects/{theirs}/api_keys/{key_id}").status_code == 404
    assert api.client.get("/v1/api_keys").status_code == 200


@pytest.mark.parametrize("path", sorted(OPEN))
def test_an_open_route_answers_without_a_key(api: Api, path: str) -> None:
    del api.client.headers["Authorization"]
    assert api.client.get(path).status_code in {200, 503}


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Basic dTpw", "Bearer \xe9"])
def test_an_odd_header_is_401(api: Api, header: str) -> None:
    headers = {b"Authorization": header.encode("latin-1")}
    assert api.client.get(JOBS, headers=headers).status_code == 401


def test_a_stranger_cannot_make_the_service_read_an_upload(api: Api) -> None:
    del api.client.headers["Authorization"]
    answer = api.client.post("/v1/files", files={"file": ("a.csv", b"a,b\n")})
    assert answer.status_code == 401
