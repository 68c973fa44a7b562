"""Query parameters that a route does not have are refused, on every route."""

import re
import time

import pytest

from app.access import open_to_all
from app.parameters import MEMBER
from tests.unit.app.conftest import JOBS, Api, spec
from tests.unit.app.matrix import routes_of

UNKNOWN = "unknown query parameter"
OF_THE_HUB = {"read_repository", "read_revision", "list_tree", "read_entry", "head_entry"}


def at_nothing(path: str) -> str:
    """Fill a route's path with names of what there is not."""
    return re.sub(r"\{[^}]+\}", "none", path)


def test_every_route_but_some_refuses_a_parameter_that_it_does_not_have(api: Api) -> None:
    for route in routes_of(api.app):
        answer = api.client.request(route.method, f"{at_nothing(route.path)}?unheard=1")
        is_refused = answer.status_code == 400 and (UNKNOWN in answer.text or not answer.content)
        passes_over = route.name in OF_THE_HUB or route.path == "/metrics"
        is_wanted = not (passes_over or open_to_all in route.says)
        assert is_refused == is_wanted, f"{route}: {answer.text[:200]}"


def test_every_parameter_of_the_document_is_known(api: Api) -> None:
    asked = 0
    for path, operations in api.client.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            for one in operation.get("parameters", ()):
                if one["in"] == "query":
                    name = f"{one['name']}[x]" if one.get("style") == "deepObject" else one["name"]
                    answer = api.client.request(method, at_nothing(path), params={name: "1"})
                    assert UNKNOWN not in answer.text, (path, name)
                    asked += 1
    assert asked > 40


@pytest.mark.parametrize(
    ("method", "address", "says"),
    [
        ("POST", f"{JOBS}?validate-only=true", "perhaps 'validate_only'; known: validate_only"),
        ("GET", "/v1/files?perpose=x", "perhaps 'purpose'; known: "),
        ("GET", f"{JOBS}/none/events?metadata[a]=b", "known: after, limit"),
        ("GET", "/v1/models/none?after=x", "known: none"),
    ],
)
def test_the_nearest_name_is_told_and_nothing_done(
    api: Api, method: str, address: str, says: str
) -> None:
    answer = api.client.request(method, address, json=spec())
    assert answer.status_code == 400
    assert says in answer.json()["detail"]
    assert answer.json()["error"]["param"] == address.partition("?")[2].partition("=")[0]
    assert api.client.get(JOBS).json()["data"] == []


@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
def test_who_looks_whether_it_is_well_may_send_what_they_like(api: Api, path: str) -> None:
    assert api.client.get(f"{path}?t=1764144000").is_success


def test_many_brackets_are_not_looked_at_again_and_again() -> None:
    began = time.process_time()
    assert MEMBER.fullmatch("[" * 60_000) is None
    assert MEMBER.fullmatch("a" + "[" * 60_000) is None
    # It took a second, once.
    assert time.process_time() - began < 0.2


def test_a_stranger_is_asked_for_a_key_first(api: Api) -> None:
    assert api.client.get(f"{JOBS}?x=1", headers={"Authorization": ""}).status_code == 401
