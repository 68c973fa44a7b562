"""A deliverer outlives what goes wrong around it, and what nobody foresaw."""

from ipaddress import ip_network
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from app import logs
from app.db import deliveries
from app.db.session import Database, database_now
from app.db.webhooks import Webhook
from app.deliverer import Deliverer
from app.outbound.post import Poster
from tests.unit.app.conftest import Api
from tests.unit.app.receiver import receive

PEPPER = b"p" * 32


def tick(database: Database, poster: Poster) -> None:
    deliverer = Deliverer(database, PEPPER, poster)
    deliverer.tick()
    deliverer.close()


def add_due(api: Api) -> str:
    """Set up a webhook that a test event waits for; return where to read how it went."""
    made = api.client.post("/v1/webhooks", json={"url": "https://hooks.example.com/"}).json()
    path = f"/v1/webhooks/{made['id']}"
    sent = api.client.post(f"{path}/test").json()
    return f"{path}/deliveries/{sent['id']}"


def test_a_database_that_is_away_is_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure()
    database = Database(f"sqlite:///{tmp_path}/without_tables.db")
    tick(database, Poster())
    assert "database_away" in capsys.readouterr().err
    database.close()


def test_what_nobody_foresaw_is_logged_and_tried_again_when_the_claim_is_over(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_host: str, _port: int) -> list[str]:
        raise RuntimeError("unforeseen")

    path = add_due(api)
    tick(api.database, Poster(resolve=broken))
    assert "delivery_crashed" in capsys.readouterr().err
    assert api.client.get(path).json()["attempts"] == []

    with api.database.write() as session:
        session.execute(update(Webhook).values(claimed_until=database_now(session)))
    tick(api.database, Poster(resolve=lambda *_: []))
    (attempt,) = api.client.get(path).json()["attempts"]
    assert attempt["error"] == "refused: the name has no address"


def test_an_attempt_that_cannot_be_noted_is_made_again(
    api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = add_due(api)
    with receive() as receiver:
        with api.database.write() as session:
            session.execute(update(Webhook).values(url=receiver.url))
        poster = Poster([ip_network("127.0.0.1/32")])
        with monkeypatch.context() as broken:
            broken.setattr(deliveries, "finish", _away)
            tick(api.database, poster)
        assert "delivery_not_noted" in capsys.readouterr().err
        with api.database.write() as session:
            session.execute(update(Webhook).values(claimed_until=database_now(session)))
        tick(api.database, poster)
    assert len(receiver.received) == 2
    assert len({got.headers["webhook-id"] for got in receiver.received}) == 1
    assert api.client.get(path).json()["status"] == "succeeded"


def _away(*_: object) -> bool:
    raise OperationalError("COMMIT", {}, Exception("away"))
