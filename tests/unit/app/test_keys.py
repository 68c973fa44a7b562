"""API keys: what they look like, how they are kept, when they stop working."""

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import select

from app.db.models import ApiKey, Project
from app.errors import Unauthorized
from app.services import key_text, keys
from tests.unit.app.conftest import JOBS, Api


def test_a_key_reads_as_the_design_says_and_no_two_are_alike() -> None:
    unique = "0123456789abcdef0123456789abcdef"
    one, two = key_text.write(unique), key_text.write(unique)
    assert one != two
    prefix, name, secret = one.split("_")
    assert (prefix, name, len(secret)) == ("shk", unique, 43 + 6)
    assert 62**43 >= 2**256
    assert key_text.read(one) == unique


def test_a_key_with_one_wrong_letter_is_told_by_its_checksum() -> None:
    key = key_text.write("0" * 32)
    for place in range(4, len(key)):
        if key[place] != "_":
            other = "1" if key[place] == "0" else "0"
            assert key_text.read(key[:place] + other + key[place + 1 :]) is None, place


def test_only_a_keyed_hash_of_a_key_is_stored(api: Api) -> None:
    secret = api.key()["Authorization"].removeprefix("Bearer ")
    stored = b"".join(path.read_bytes() for path in api.folder.glob("test.db*"))
    assert secret.encode() not in stored
    assert secret.split("_")[2].encode() not in stored


def test_a_key_is_unknown_under_another_pepper(api: Api) -> None:
    secret = api.key()["Authorization"].removeprefix("Bearer ")
    assert keys.authenticate(api.database, api.parts.pepper, secret).scopes
    with pytest.raises(Unauthorized, match="no such"):
        keys.authenticate(api.database, b"x" * 32, secret)


def test_a_well_formed_key_that_was_never_made_is_unknown(api: Api) -> None:
    with pytest.raises(Unauthorized, match="no such"):
        keys.authenticate(api.database, api.parts.pepper, key_text.write("0" * 32))


def test_the_pepper_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "pepper"
    pepper = keys.load_pepper(path)
    assert len(pepper) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keys.load_pepper(path) == pepper
    assert list(path.parent.iterdir()) == [path]


def test_processes_that_start_together_agree_on_the_pepper(tmp_path: Path) -> None:
    for attempt in range(20):
        path = tmp_path / f"pepper-{attempt}"
        start = Barrier(4)

        def load(path: Path = path, start: Barrier = start) -> bytes:
            start.wait()
            return keys.load_pepper(path)

        with ThreadPoolExecutor(4) as pool:
            peppers = {future.result() for future in [pool.submit(load) for _ in range(4)]}
        assert len(peppers) == 1


def test_a_pepper_that_is_too_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pepper").write_bytes(b"short")
    with pytest.raises(ValueError, match="5 bytes"):
        keys.load_pepper(tmp_path / "pepper")


def test_the_first_key_of_a_project_makes_the_project_and_the_second_joins_it(api: Api) -> None:
    one, _ = keys.create_key(
        api.database, api.parts.pepper, project="new", name="a", scopes=["admin"]
    )
    two, _ = keys.create_key(
        api.database, api.parts.pepper, project="new", name="b", scopes=["admin"]
    )
    assert one.project_id == two.project_id
    with api.database.read() as session:
        assert session.scalars(select(Project.name).order_by(Project.name)).all() == [
            "default",
            "new",
        ]


def test_an_expired_key_stops_working(api: Api) -> None:
    body = {"name": "brief", "scopes": ["jobs:read"]}
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    made = api.client.post("/v1/api_keys", json={**body, "expires_at": soon}).json()
    headers = {"Authorization": f"Bearer {made['secret']}"}
    assert api.client.get(JOBS, headers=headers).status_code == 200
    with api.database.write() as session:
        row = session.get_one(ApiKey, made["id"])
        row.expires_at = datetime.now(UTC) - timedelta(seconds=1)
    api.app.state.keyring.forget_all()
    answer = api.client.get(JOBS, headers=headers)
    assert answer.status_code == 401
    assert "expired" in answer.json()["detail"]


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:00"])
def test_a_moment_that_has_no_date_in_utc_is_refused(api: Api, moment: str) -> None:
    project_id = api.client.get("/v1/usage").json()["project_id"]
    body = {"name": "long", "scopes": ["jobs:read"], "expires_at": moment}
    for path in ("/v1/api_keys", f"/v1/projects/{project_id}/api_keys"):
        refused = api.client.post(path, json=body)
        assert refused.status_code == 422, refused.text
        assert refused.json()["errors"][0]["pointer"] == "/expires_at"
        assert moment in refused.json()["detail"]
    last = {**body, "expires_at": "9999-12-31T23:59:59Z"}
    made = api.client.post("/v1/api_keys", json=last)
    assert (made.status_code, made.json()["expires_at"]) == (201, last["expires_at"])


def test_a_revoked_key_stops_working_and_stays_in_the_list(api: Api) -> None:
    made = api.client.post("/v1/api_keys", json={"name": "old", "scopes": ["admin"]}).json()
    headers = {"Authorization": f"Bearer {made['secret']}"}
    revoked = api.client.delete(f"/v1/api_keys/{made['id']}")
    assert revoked.status_code == 200
    assert api.client.get("/v1/api_keys", headers=headers).status_code == 401
    again = api.client.delete(f"/v1/api_keys/{made['id']}").json()
    assert again["revoked_at"] == revoked.json()["revoked_at"]
    listed = api.client.get("/v1/api_keys").json()["data"]
    assert made["id"] in [key["id"] for key in listed if key["revoked_at"]]


def test_a_secret_is_shown_once(api: Api) -> None:
    made = api.client.post("/v1/api_keys", json={"name": "new", "scopes": ["jobs:read"]}).json()
    assert key_text.read(made["secret"])
    assert made["secret"] not in api.client.get("/v1/api_keys").text


def test_last_use_is_noted_at_most_once_a_minute(api: Api) -> None:
    secret = api.key()["Authorization"].removeprefix("Bearer ")
    key_id = f"key-{key_text.read(secret)}"

    def last_use() -> datetime | None:
        with api.database.read() as session:
            return session.get_one(ApiKey, key_id).last_used_at

    assert last_use() is None
    keys.authenticate(api.database, api.parts.pepper, secret)
    first = last_use()
    assert first is not None
    keys.authenticate(api.database, api.parts.pepper, secret)
    assert last_use() == first
    with api.database.write() as session:
        session.get_one(ApiKey, key_id).last_used_at = first - timedelta(minutes=2)
    keys.authenticate(api.database, api.parts.pepper, secret)
    later = last_use()
    assert later is not None
    assert later >= first
