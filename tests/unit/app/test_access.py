"""Every route declares who may call it, and keeps to that."""

from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from app.access import Needs, open_to_all
from app.contracts.requests import SCOPES, Scope
from tests.unit.app.conftest import JOBS, Api, spec

TUNING = "/v1/fine_tuning/jobs"
OPEN = {"/healthz", "/readyz", "/openapi.json"}

ROUTES: list[tuple[str, str, Scope]] = [
    ("POST", JOBS, "jobs:write"),
    ("GET", JOBS, "jobs:read"),
    ("GET", f"{JOBS}/x", "jobs:read"),
    ("PATCH", f"{JOBS}/x", "jobs:write"),
    ("POST", f"{JOBS}/x/cancel", "jobs:write"),
    ("POST", f"{JOBS}/x/pause", "jobs:write"),
    ("POST", f"{JOBS}/x/resume", "jobs:write"),
    ("POST", f"{JOBS}/x/retry", "jobs:write"),
    ("POST", f"{JOBS}/x/clone", "jobs:write"),
    ("DELETE", f"{JOBS}/x", "jobs:write"),
    ("GET", f"{JOBS}/x/checkpoints", "jobs:read"),
    ("GET", f"{JOBS}/x/checkpoints/y/files/z/z", "jobs:read"),
    ("HEAD", f"{JOBS}/x/checkpoints/y/files/z/z", "jobs:read"),
    ("GET", f"{JOBS}/x/events", "jobs:read"),
    ("GET", f"{JOBS}/x/events/stream", "jobs:read"),
    ("GET", f"{JOBS}/x/metrics", "jobs:read"),
    ("GET", f"{JOBS}/x/logs", "jobs:read"),
    ("GET", f"{JOBS}/x/files", "jobs:read"),
    ("GET", f"{JOBS}/x/files/y/z", "jobs:read"),
    ("HEAD", f"{JOBS}/x/files/y/z", "jobs:read"),
    ("GET", f"{JOBS}/x/report", "jobs:read"),
    ("GET", f"{JOBS}/x/report.html", "jobs:read"),
    ("GET", "/v1/files/x:y/z", "jobs:read"),
    ("GET", "/v1/files/x:y/z/content", "jobs:read"),
    ("HEAD", "/v1/files/x:y/z/content", "jobs:read"),
    ("POST", TUNING, "jobs:write"),
    ("GET", TUNING, "jobs:read"),
    ("GET", f"{TUNING}/x", "jobs:read"),
    ("POST", f"{TUNING}/x/cancel", "jobs:write"),
    ("POST", f"{TUNING}/x/pause", "jobs:write"),
    ("POST", f"{TUNING}/x/resume", "jobs:write"),
    ("GET", f"{TUNING}/x/events", "jobs:read"),
    ("GET", f"{TUNING}/x/checkpoints", "jobs:read"),
    ("POST", "/v1/files", "files:write"),
    ("GET", "/v1/files", "files:write"),
    ("GET", "/v1/files/x", "files:write"),
    ("GET", "/v1/files/x/content", "files:write"),
    ("HEAD", "/v1/files/x/content", "files:write"),
    ("GET", "/v1/models", "models:read"),
    ("GET", "/v1/models/x", "models:read"),
    ("GET", "/v1/models/x/files/y/z", "models:read"),
    ("HEAD", "/v1/models/x/files/y/z", "models:read"),
    ("GET", "/v1/knowledge", "models:read"),
    ("GET", "/v1/knowledge/x", "models:read"),
    ("DELETE", "/v1/knowledge/x", "jobs:write"),
    ("GET", "/v1/architectures", "jobs:read"),
    ("GET", "/v1/losses", "jobs:read"),
    ("GET", "/v1/datasets", "jobs:read"),
    ("GET", "/v1/queue", "jobs:read"),
    ("GET", "/v1/workers", "admin"),
    ("GET", "/v1/api_keys", "admin"),
    ("POST", "/v1/api_keys", "admin"),
    ("DELETE", "/v1/api_keys/x", "admin"),
]


def declared(dependant: Dependant) -> set[object]:
    """Collect what a route and its dependencies say of who may call it."""
    found: set[object] = set()
    for one in dependant.dependencies:
        if isinstance(one.call, Needs) or one.call is open_to_all:
            found.add(one.call)
        found |= declared(one)
    return found


def test_every_route_declares_one_scope_or_that_it_is_open(api: Api) -> None:
    contexts = list(iter_route_contexts(api.app.routes))
    assert len(contexts) >= len(ROUTES) + len(OPEN)
    for context in contexts:
        assert isinstance(context.original_route, APIRoute), context.path
        says = declared(context.dependant)
        assert len(says) == 1, context.path
        assert (open_to_all in says) == (context.path in OPEN), context.path


def test_the_table_of_routes_above_is_whole(api: Api) -> None:
    contexts = [c for c in iter_route_contexts(api.app.routes) if c.path not in OPEN]
    assert sum(len(context.methods or ()) for context in contexts) == len(ROUTES)


@pytest.mark.parametrize(("method", "path", "_scope"), ROUTES)
def test_without_a_key_there_is_no_answer_but_401(
    api: Api, method: str, path: str, _scope: str
) -> None:
    del api.client.headers["Authorization"]
    answer = api.client.request(method, path, json=_body(path))
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_a_key_with_every_scope_but_the_right_one_is_refused(
    api: Api, method: str, path: str, scope: Scope
) -> None:
    others = [one for one in SCOPES if one != scope]
    answer = api.client.request(method, path, json=_body(path), headers=api.key(*others))
    assert answer.status_code == 403


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_a_key_with_only_the_right_scope_is_let_in(
    api: Api, method: str, path: str, scope: Scope
) -> None:
    answer = api.client.request(method, path, json=_body(path), headers=api.key(scope))
    assert answer.status_code in {200, 201, 404, 422}


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


def test_another_projects_things_look_like_things_that_do_not_exist(api: Api) -> None:
    job = api.post_job()
    file = api.upload()
    other = api.key(project="other")
    model = api.succeed(api.claim(), {"student/config.json": b"{}"})
    key_id = api.client.get("/v1/api_keys").json()["data"][0]["id"]
    for method, path in [
        ("GET", f"{JOBS}/{job['id']}"),
        ("POST", f"{JOBS}/{job['id']}/cancel"),
        ("POST", f"{JOBS}/{job['id']}/pause"),
        ("POST", f"{JOBS}/{job['id']}/resume"),
        ("POST", f"{JOBS}/{job['id']}/retry"),
        ("POST", f"{JOBS}/{job['id']}/clone"),
        ("GET", f"{JOBS}/{job['id']}/events"),
        ("GET", f"{JOBS}/{job['id']}/events/stream"),
        ("GET", f"{JOBS}/{job['id']}?wait=1"),
        ("GET", f"{JOBS}/{job['id']}/metrics?resolution=9"),
        ("GET", f"{JOBS}/{job['id']}/checkpoints"),
        ("GET", f"{JOBS}/{job['id']}/metrics"),
        ("GET", f"{JOBS}/{job['id']}/metrics?format=csv"),
        ("GET", f"{JOBS}/{job['id']}/logs"),
        ("GET", f"{JOBS}/{job['id']}/files"),
        ("GET", f"{JOBS}/{job['id']}/files/student/config.json"),
        ("GET", f"/v1/files/{job['id']}:student/config.json"),
        ("GET", f"/v1/files/{job['id']}:student/config.json/content"),
        ("GET", f"{TUNING}/{job['id']}"),
        ("POST", f"{TUNING}/{job['id']}/cancel"),
        ("POST", f"{TUNING}/{job['id']}/pause"),
        ("POST", f"{TUNING}/{job['id']}/resume"),
        ("GET", f"{TUNING}/{job['id']}/events"),
        ("GET", f"{TUNING}/{job['id']}/checkpoints"),
        ("GET", f"/v1/files/{file['id']}"),
        ("GET", f"/v1/files/{file['id']}/content"),
        ("GET", f"/v1/models/{model}"),
        ("GET", f"/v1/models/{model}/files/config.json"),
        ("DELETE", f"{JOBS}/{job['id']}"),
        ("DELETE", f"/v1/api_keys/{key_id}"),
    ]:
        if method == "GET":
            assert api.client.get(path).status_code == 200, path
        foreign = api.client.request(method, path, headers=other)
        part = next(
            part
            for part in path.split("/")
            if part.startswith(("dist", "file-", "mod", "key-")) and "-" in part
        )
        unknown = api.client.request(method, path.replace(part, "unknown"), headers=other)
        assert foreign.status_code == unknown.status_code == 404, path
        assert _without_address(foreign.json()) == _without_address(unknown.json())
    for path in (JOBS, "/v1/files", "/v1/models"):
        assert api.client.get(path, headers=other).json()["data"] == []


def _without_address(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in {"instance", "request_id"}}


def _body(path: str) -> dict[str, Any] | None:
    if path == JOBS:
        return spec()
    return {"name": "new", "scopes": ["jobs:read"]} if path == "/v1/api_keys" else None
