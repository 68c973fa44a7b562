"""Keys that were good a moment ago are not asked for again, and not for longer than a moment."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from app import keyring
from app.db.session import Database
from app.errors import Unauthorized
from app.keyring import REMEMBERED_SECONDS, Keyring
from app.services import key_text, keys
from tests.unit.app.conftest import Api


@pytest.fixture
def statements(api: Api) -> Iterator[list[str]]:
    """What is sent to the database from now on."""
    seen: list[str] = []

    def see(*arguments: object) -> None:
        seen.append(str(arguments[2]))

    event.listen(api.database.engine, "before_cursor_execute", see)
    yield seen
    event.remove(api.database.engine, "before_cursor_execute", see)


def test_a_good_key_is_looked_for_once_a_moment(api: Api, statements: list[str]) -> None:
    now = 7.0
    known, secret = Keyring(api.database, api.parts.pepper, lambda: now), _secret(api)
    first = asyncio.run(known.identify(secret))
    statements.clear()

    assert asyncio.run(known.identify(secret)) == first
    assert statements == []

    now += REMEMBERED_SECONDS
    assert asyncio.run(known.identify(secret)) == first
    assert any("api_keys" in statement for statement in statements)


def test_of_many_that_show_one_good_key_at_once_one_asks(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, secret, asked = Keyring(api.database, api.parts.pepper, lambda: 7.0), _secret(api), []
    authenticate = keys.authenticate

    def count(database: Database, pepper: bytes, secret: str) -> keys.Identity:
        asked.append(secret)
        return authenticate(database, pepper, secret)

    async def all_at_once() -> list[keys.Identity]:
        return await asyncio.gather(*(known.identify(secret) for _ in range(20)))

    monkeypatch.setattr(keyring, "authenticate", count)
    assert len(set(asyncio.run(all_at_once()))) == len(asked) == 1


def test_many_that_show_one_bad_key_at_once_are_all_refused(api: Api) -> None:
    known, made_up = Keyring(api.database, api.parts.pepper), key_text.write("0" * 32)

    async def all_at_once() -> list[object]:
        asking = (known.identify(made_up) for _ in range(20))
        return [*await asyncio.gather(*asking, return_exceptions=True)]

    assert {type(one) for one in asyncio.run(all_at_once())} == {Unauthorized}


def test_while_the_database_is_away_many_that_show_one_key_wait_for_it_once(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, secret = Keyring(api.database, api.parts.pepper), _secret(api)
    asked = []

    def fail(*_: object) -> keys.Identity:
        asked.append(secret)
        raise OperationalError("SELECT 1", {}, Exception("away"))

    async def all_at_once() -> list[object]:
        asking = (known.identify(secret) for _ in range(20))
        return [*await asyncio.gather(*asking, return_exceptions=True)]

    monkeypatch.setattr(keyring, "authenticate", fail)
    assert {type(one) for one in asyncio.run(all_at_once())} == {OperationalError}
    assert len(asked) == 1
    monkeypatch.undo()
    assert asyncio.run(known.identify(secret)).scopes


def test_what_has_been_looked_for_too_long_serves_nobody_else(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 7.0
    known, secret = Keyring(api.database, api.parts.pepper, lambda: now), _secret(api)
    found, go_on = threading.Event(), threading.Event()

    def find_and_wait(database: Database, pepper: bytes, secret: str) -> keys.Identity:
        identity = keys.authenticate(database, pepper, secret)
        keys.revoke_key(database, identity.project_id, identity.key_id)
        found.set()
        assert go_on.wait(60)
        return identity

    async def ask_twice() -> None:
        nonlocal now
        with monkeypatch.context() as patch:
            patch.setattr(keyring, "authenticate", find_and_wait)
            first = asyncio.create_task(known.identify(secret))
            assert await asyncio.to_thread(found.wait, 60)
        now += REMEMBERED_SECONDS
        try:
            with pytest.raises(Unauthorized, match="revoked"):
                await known.identify(secret)
        finally:
            go_on.set()
        await first

    asyncio.run(ask_twice())


def test_a_key_that_another_process_revoked_is_refused_a_moment_later(api: Api) -> None:
    now = 7.0
    known, secret = Keyring(api.database, api.parts.pepper, lambda: now), _secret(api)
    identity = asyncio.run(known.identify(secret))
    keys.revoke_key(api.database, identity.project_id, identity.key_id)

    assert asyncio.run(known.identify(secret)) == identity
    now += REMEMBERED_SECONDS
    with pytest.raises(Unauthorized, match="revoked"):
        asyncio.run(known.identify(secret))


def test_a_key_that_is_revoked_while_it_is_looked_for_is_not_remembered(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, secret = Keyring(api.database, api.parts.pepper), _secret(api)
    authenticate = keys.authenticate

    def authenticate_and_revoke(database: Database, pepper: bytes, secret: str) -> keys.Identity:
        identity = authenticate(database, pepper, secret)
        keys.revoke_key(database, identity.project_id, identity.key_id)
        known.forget_all()
        return identity

    monkeypatch.setattr(keyring, "authenticate", authenticate_and_revoke)
    asyncio.run(known.identify(secret))
    monkeypatch.undo()

    with pytest.raises(Unauthorized, match="revoked"):
        asyncio.run(known.identify(secret))


def test_keys_that_are_not_good_are_not_remembered(api: Api, statements: list[str]) -> None:
    known, made_up = Keyring(api.database, api.parts.pepper), key_text.write("0" * 32)
    for _ in range(2):
        statements.clear()
        with pytest.raises(Unauthorized, match="no such API key"):
            asyncio.run(known.identify(made_up))
        assert any("api_keys" in statement for statement in statements)


def test_no_more_keys_are_remembered_than_fit(
    api: Api, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "MOST_REMEMBERED", 2)
    known = Keyring(api.database, api.parts.pepper, lambda: 7.0)
    oldest, *newer = [_secret(api) for _ in range(3)]
    for secret in (oldest, *newer):
        asyncio.run(known.identify(secret))

    statements.clear()
    for secret in newer:
        asyncio.run(known.identify(secret))
    assert statements == []
    asyncio.run(known.identify(oldest))
    assert statements


def _secret(api: Api) -> str:
    return api.key()["Authorization"].removeprefix("Bearer ")
