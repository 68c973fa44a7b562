"""Hostile JSON is a 4xx that says why; it never reaches a route."""

import asyncio
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadRequest, InvalidPayload
from app.intake import MOST_BODY_BYTES, MOST_BYTES_AT_ONCE
from app.services import key_text
from app.services.payloads import MOST_DEPTH, check_json
from tests.unit.app.conftest import JOBS, Api

MADE_UP = key_text.write("0" * 32)

HOSTILE = [
    (b'{"a": NaN}', "/a", "not_finite"),
    (b'{"a": [1, Infinity]}', "/a/1", "not_finite"),
    (b'{"a": {"b/c": -1e999}}', "/a/b~1c", "not_finite"),
    (b'{"a": "\\u0000"}', "/a", "invalid_text"),
    (b'{"a": "\\ud800"}', "/a", "invalid_text"),
    (b'{"a\\u0000": 1}', "", "invalid_text"),
    (b'{"\\udfff": {"b": NaN}}', "", "invalid_text"),
    (b'{"a": 9223372036854775808}', "/a", "too_large"),
    (b'{"a": -9223372036854775809}', "/a", "too_large"),
    (b'{"a": ' + b"9" * 100_000 + b"}", "/a", "too_large"),
    (b'{"a": 1, "a": 2}', "", "duplicate_key"),
    (b"[" * 900 + b"]" * 900, "/0" * MOST_DEPTH, "too_deep"),
    (b"[" * 400_000 + b"]" * 400_000, "", "too_deep"),
]


@pytest.mark.parametrize(("body", "pointer", "code"), HOSTILE, ids=range(len(HOSTILE)))
def test_a_value_that_is_not_taken_is_422_with_its_pointer(
    api: Api, body: bytes, pointer: str, code: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = api.client.post(JOBS, content=body, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert answer.json()["errors"][0]["code"] == code


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "line 1, column 2"),
        (b'{"a":1}x', "line 1, column 8"),
        (b'{"a": "\xff"}', "byte 7"),
        (b'{"a": "\xed\xa0\x80"}', "UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
    ],
)
def test_what_is_not_json_is_400_and_says_where(api: Api, body: bytes, words: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = api.client.post(JOBS, content=body, headers=headers)
    assert answer.status_code == 400
    assert words in answer.json()["detail"]


def test_a_body_of_more_than_a_mebibyte_is_413(api: Api) -> None:
    fits = b" " * (MOST_BODY_BYTES - 2) + b"[]"
    assert api.client.post(JOBS, content=fits).status_code == 422
    assert api.client.post(JOBS, content=b" " + fits).status_code == 413


def test_the_largest_that_is_taken_is_taken() -> None:
    deepest = b"[" * MOST_DEPTH + b"]" * MOST_DEPTH
    check_json(deepest)
    with pytest.raises(InvalidPayload):
        check_json(b"[" + deepest + b"]")
    check_json(b'{"a": [9223372036854775807, -9223372036854775808, 1e308, "\\ud83d\\ude00"]}')


@pytest.mark.parametrize(
    "path", ["/v1/files/%00", f"{JOBS}/a%00b/logs", f"{JOBS}?after=%00", f"{JOBS}?after=a%00"]
)
def test_a_nul_in_the_address_is_400(api: Api, path: str) -> None:
    assert api.client.get(path).status_code == 400


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_can_be_read(body: bytes) -> None:
    # Any other exception would be a 500.
    with contextlib.suppress(BadRequest, InvalidPayload):
        check_json(body)
        json.loads(body.decode())


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
    ),
    max_leaves=20,
)


@given(JSON)
def test_plain_json_is_always_taken(value: object) -> None:
    check_json(json.dumps(value).encode())


def test_a_key_given_twice_among_very_many_is_found_as_fast_as_they_are_read() -> None:
    keys = [f'"{number}":0' for number in range(100_000)]
    body = "{" + ",".join([*keys, '"99999":0']) + "}"
    # Compared with each other, so many would take minutes.
    with pytest.raises(InvalidPayload, match="'99999' is given twice"):
        check_json(body.encode())


def test_a_stranger_s_large_body_is_not_looked_at(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_body: bytes) -> None:
        raise AssertionError

    body = json.dumps({"name": "x" * 2 * MOST_BYTES_AT_ONCE})
    monkeypatch.setattr("app.intake.check_json", fail)
    for headers in ({"Authorization": "Bearer x"}, {"Authorization": f"Bearer {MADE_UP}"}):
        answer = api.client.post(JOBS, content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    del api.client.headers["Authorization"]
    assert api.client.post(JOBS, content=body).status_code == 401
    assert api.client.post("/nowhere", content=body).status_code == 404


def test_a_client_s_large_body_is_looked_at(api: Api) -> None:
    answer = api.client.post(JOBS, content=json.dumps({"name": "x" * 2 * MOST_BYTES_AT_ONCE}))
    assert answer.status_code == 422
    answer = api.client.post(JOBS, content='{"name": "' + "x" * MOST_BYTES_AT_ONCE + '\\u0000"}')
    assert answer.json()["errors"][0]["code"] == "invalid_text"


def test_a_request_that_is_cut_off_does_nothing(api: Api) -> None:
    job = api.post_job()["id"]
    sent = []
    parts = [
        {"type": "http.request", "body": b'{"mode": ', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:  # noqa: ANN401 (ASGI's)
        return parts.pop(0) if parts else {"type": "http.disconnect"}

    async def send(message: Any) -> None:  # noqa: ANN401 (as above)
        sent.append(message)

    path = f"{JOBS}/{job}/cancel"
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"authorization", api.client.headers["Authorization"].encode()),
            (b"content-length", b"16"),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    asyncio.run(api.app(scope, receive, send))
    assert sent[0]["status"] == 400
    assert api.client.get(f"{JOBS}/{job}").json()["status"] == "queued"
