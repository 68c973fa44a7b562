"""Webhooks over HTTP: set up, signed as receivers expect, tried out, sent again."""

import json
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
from openai import InvalidWebhookSignatureError, OpenAI
from openai.types.webhooks import (
    FineTuningJobCancelledWebhookEvent,
    FineTuningJobFailedWebhookEvent,
    FineTuningJobSucceededWebhookEvent,
)
from sqlalchemy import func, select
from sqlalchemy import inspect as inspect_database
from starlette.testclient import TestClient

from app.contracts.job import JobError
from app.contracts.webhooks import EVENT_TYPES, OF_JOBS
from app.db import verbs
from app.db.lifecycle import Actor
from app.db.models import JobEvent
from app.db.outbox import PUBLISHED
from app.db.table import Table
from app.db.webhooks import WebhookAttempt, WebhookDelivery
from app.deliverer import Deliverer
from app.main import create_app
from app.outbound.post import Poster
from tests.unit.app.conftest import JOBS, Api, settings
from tests.unit.app.receiver import Received, Receiver, receive

WEBHOOKS = "/v1/webhooks"
LOOPBACK = [ip_network("127.0.0.1/32")]
FINE_TUNING = [name for name in EVENT_TYPES if name.startswith("fine_tuning.")]
OPENAI_S_OWN = (
    FineTuningJobSucceededWebhookEvent,
    FineTuningJobFailedWebhookEvent,
    FineTuningJobCancelledWebhookEvent,
)

Made = dict[str, Any]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """Give an API whose operator lets webhooks go to this machine."""
    app = create_app(settings(tmp_path, webhook_networks="127.0.0.1/32"))
    Table.metadata.create_all(app.state.parts.database.engine)
    with TestClient(app, raise_server_exceptions=False) as client:
        made = Api(app, client, tmp_path)
        client.headers.update(made.key())
        yield made


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receive() as receiving:
        yield receiving


@pytest.fixture
def send(api: Api) -> Iterator[Callable[[], None]]:
    """Send all that is due, and wait until it is."""
    deliverer = Deliverer(api.database, api.parts.pepper, Poster(LOOPBACK))

    def until_nothing_is_due() -> None:
        give_up = time.monotonic() + 60
        while _num_due(api):
            assert time.monotonic() < give_up
            deliverer.is_wanted.clear()
            deliverer.tick()
            deliverer.is_wanted.wait(0.5)

    yield until_nothing_is_due
    deliverer.close()


def _num_due(api: Api) -> int:
    """Count what was never attempted: what failed waits for 5 s at least."""
    due = select(func.count()).where(
        WebhookDelivery.status == "pending", WebhookDelivery.num_failures == 0
    )
    with api.database.read() as session:
        return session.execute(due).scalar_one()


def make(api: Api, url: str, *event_types: str) -> Made:
    body = {"url": url} | ({"event_types": event_types} if event_types else {})
    answer = api.client.post(WEBHOOKS, json=body)
    assert answer.status_code == 201, answer.text
    made: Made = answer.json()
    return made


def deliveries(api: Api, made: Made) -> list[Made]:
    answer = api.client.get(f"{WEBHOOKS}/{made['id']}/deliveries")
    assert answer.status_code == 200, answer.text
    data: list[Made] = answer.json()["data"]
    return data


def types(received: list[Received]) -> list[str]:
    return [json.loads(one.body)["type"] for one in received]


def fail_a_job(api: Api) -> str:
    job: str = api.post_job(metadata={"team": "vision"})["id"]
    held = api.claim()
    error = JobError(
        code="bad_data", message="line 7", phase=None, retryable=False, hint="Mend it."
    )
    with api.database.write() as session:
        verbs.fail(session, verbs.hold(session, *held), error, Actor.HOLDER)
    return job


def test_a_job_s_life_is_told_in_its_order_and_verified_by_standard_webhooks(
    api: Api, receiver: Receiver, send: Callable[[], None]
) -> None:
    made = make(api, receiver.url)
    assert made["event_types"] == OF_JOBS
    job = fail_a_job(api)
    send()

    verifier = standardwebhooks.Webhook(made["secret"])
    events = [verifier.verify(one.body, one.headers) for one in receiver.received]
    kinds = ["created", "running", "failed"]
    assert [one["type"] for one in events] == [f"distillation.job.{kind}" for kind in kinds]
    assert [one["data"]["status"] for one in events] == ["queued", "running", "failed"]
    assert {one["data"]["id"] for one in events} == {job}
    assert events[2]["data"]["error"]["code"] == "bad_data"
    assert events[0]["data"]["metadata"] == {"team": "vision"}
    assert [one["data"]["event_number"] for one in events] == [1, 2, 3]
    ids = [one.headers["webhook-id"] for one in receiver.received]
    assert ids == [one["id"] for one in events]
    assert len(set(ids)) == 3
    assert receiver.received[0].headers["Content-Type"] == "application/json"
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verifier.verify(receiver.received[0].body + b" ", receiver.received[0].headers)


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
def test_openai_s_client_unwraps_what_its_users_subscribe_to(
    api: Api, receiver: Receiver, send: Callable[[], None], end: str
) -> None:
    made = make(api, receiver.url, *FINE_TUNING)
    job = fail_a_job(api) if end == "failed" else api.post_job()["id"]
    if end == "cancelled":
        api.client.post(f"{JOBS}/{job}/cancel")
    if end == "succeeded":
        api.succeed(api.claim(), {"student/config.json": b"{}"})
    send()

    client = OpenAI(api_key="unused", webhook_secret=made["secret"])
    (got,) = receiver.received
    event = client.webhooks.unwrap(got.body, got.headers)
    assert isinstance(event, OPENAI_S_OWN)
    assert event.type == f"fine_tuning.job.{end}"
    assert (event.data.id, event.object) == (job, "event")
    assert abs(event.created_at - time.time()) < 60
    stranger = OpenAI(api_key="unused", webhook_secret=make(api, receiver.url)["secret"])
    with pytest.raises(InvalidWebhookSignatureError):
        stranger.webhooks.unwrap(got.body, got.headers)
    client.close()
    stranger.close()


def test_every_event_of_a_job_that_is_published_is_one_that_may_be_subscribed_to() -> None:
    published = {name for names in PUBLISHED.values() for name in names}
    assert published == set(EVENT_TYPES) - {"webhook.disabled"}


def test_a_paused_and_cancelled_job_is_told_of_and_other_events_are_not(
    api: Api, receiver: Receiver, send: Callable[[], None]
) -> None:
    make(api, receiver.url)
    job = api.post_job()["id"]
    for verb in ("pause", "resume", "cancel"):
        assert api.client.post(f"{JOBS}/{job}/{verb}").status_code == 200
    send()
    kinds = ["created", "paused", "cancelled"]
    assert types(receiver.received) == [f"distillation.job.{kind}" for kind in kinds]
    with api.database.read() as session:
        assert session.execute(select(func.count(JobEvent.number))).scalar_one() == 4


def test_a_new_secret_and_the_one_before_both_verify_until_the_overlap_is_over(
    api: Api, receiver: Receiver, send: Callable[[], None]
) -> None:
    made = make(api, receiver.url)
    path = f"{WEBHOOKS}/{made['id']}"
    secrets = [made["secret"]]
    for overlap in (60, 60, 0):
        answer = api.client.post(f"{path}/rotate", json={"overlap_seconds": overlap})
        assert answer.status_code == 200
        secrets.append(answer.json()["secret"])
        api.client.post(f"{path}/test")
        send()
    assert len(set(secrets)) == 4

    def verifies(secret: str, one: Received) -> bool:
        try:
            standardwebhooks.Webhook(secret).verify(one.body, one.headers)
        except standardwebhooks.WebhookVerificationError:
            return False
        return True

    seen = [[verifies(secret, one) for secret in secrets] for one in receiver.received]
    assert seen == [
        [True, True, False, False],
        [False, True, True, False],
        [False, False, False, True],
    ]


def test_a_secret_is_shown_once_and_kept_nowhere(
    api: Api,
    receiver: Receiver,
    send: Callable[[], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = make(api, f"{receiver.url}?token=hidden")
    path = f"{WEBHOOKS}/{made['id']}"
    answers = [
        api.client.post(f"{path}/test"),
        api.client.get(path),
        api.client.get(WEBHOOKS),
        api.client.patch(path, json={"description": "mine"}),
    ]
    send()
    answers.append(api.client.get(f"{path}/deliveries"))
    secret = made["secret"].removeprefix("whsec_")
    assert all(answer.is_success and secret not in answer.text for answer in answers)
    logged = capsys.readouterr().err
    assert "delivery_attempted" in logged
    assert secret not in logged
    assert "hidden" not in logged
    engine = api.database.engine
    with engine.connect() as connection:
        for name in inspect_database(engine).get_table_names():
            rows = connection.execute(select(Table.metadata.tables[name])).all()
            assert secret not in str(rows)


def test_a_test_event_says_how_it_went_and_is_not_tried_again(
    api: Api, receiver: Receiver, send: Callable[[], None]
) -> None:
    made = make(api, receiver.url)
    receiver.status, receiver.answer = 500, b"no such table: hooks" + b"x" * 5000
    sent = api.client.post(f"{WEBHOOKS}/{made['id']}/test")
    assert (sent.status_code, sent.json()["status"]) == (201, "pending")
    send()

    path = f"{WEBHOOKS}/{made['id']}/deliveries/{sent.json()['id']}"
    delivery = api.client.get(path).json()
    assert (delivery["status"], delivery["event_type"]) == ("failed", "webhook.test")
    assert delivery["next_attempt_at"] is None
    (attempt,) = delivery["attempts"]
    assert attempt["response_status"] == 500
    assert attempt["error"] == "the receiver answered 500"
    assert attempt["answer"].startswith("no such table: hooksx")
    assert len(attempt["answer"]) == 1024
    assert 0 < attempt["seconds"] < 10
    assert receiver.received[0].body.decode() == delivery["body"]
    assert api.client.get(f"{WEBHOOKS}/{made['id']}").json()["failing_since"] is None


def test_what_failed_waits_and_can_be_sent_again_with_the_same_id(
    api: Api, receiver: Receiver, send: Callable[[], None]
) -> None:
    made = make(api, receiver.url, "distillation.job.created")
    receiver.status = 503
    api.post_job()
    send()
    (delivery,) = deliveries(api, made)
    assert (delivery["status"], len(delivery["attempts"])) == ("pending", 1)
    assert delivery["next_attempt_at"] > delivery["created_at"]
    assert api.client.get(f"{WEBHOOKS}/{made['id']}").json()["failing_since"] is not None

    receiver.status = 200
    path = f"{WEBHOOKS}/{made['id']}/deliveries"
    for number in (2, 3):
        again = api.client.post(f"{path}/{delivery['id']}/redeliver")
        assert (again.status_code, again.json()["status"]) == (200, "pending")
        send()
        (delivery,) = deliveries(api, made)
        assert (delivery["status"], len(delivery["attempts"])) == ("succeeded", number)
    assert {one.headers["webhook-id"] for one in receiver.received} == {delivery["event_id"]}
    assert len({one.body for one in receiver.received}) == 1
    assert api.client.get(f"{WEBHOOKS}/{made['id']}").json()["failing_since"] is None
    for status, number in (("pending", 0), ("succeeded", 1)):
        page = api.client.get(f"{path}?status={status}").json()
        assert len(page["data"]) == number
    assert api.client.get(f"{path}?status=sent").status_code == 400


def test_a_webhook_is_changed_disabled_and_deleted(
    api: Api, receiver: Receiver, send: Callable[[], None]
) -> None:
    made = make(api, "http://127.0.0.1:1/old", "distillation.job.created")
    path = f"{WEBHOOKS}/{made['id']}"
    api.post_job()
    off = api.client.patch(path, json={"enabled": False, "url": receiver.url}).json()
    assert (off["enabled"], off["disabled_reason"], off["url"]) == (False, "client", receiver.url)
    api.post_job()
    for verb in ("test", f"deliveries/{deliveries(api, made)[0]['id']}/redeliver"):
        refused = api.client.post(f"{path}/{verb}")
        assert refused.status_code == 409
        assert "enable it first" in refused.json()["detail"]

    on = api.client.patch(path, json={"enabled": True, "description": "d", "url": None}).json()
    assert (on["enabled"], on["disabled_reason"], on["description"]) == (True, None, "d")
    send()
    # What waited goes to the new URL; what happened while it was off was not kept.
    assert types(receiver.received) == ["distillation.job.created"]

    assert api.client.delete(path).status_code == 204
    assert api.client.get(path).status_code == 404
    api.post_job()
    with api.database.read() as session:
        assert session.scalars(select(WebhookDelivery)).all() == []
        assert session.scalars(select(WebhookAttempt)).all() == []


def test_a_disabled_receiver_is_told_to_another_that_wants_to_know(
    api: Api, receiver: Receiver, send: Callable[[], None]
) -> None:
    with receive() as gone:
        gone.status = 410
        left = make(api, gone.url, "distillation.job.created")
        make(api, receiver.url, "webhook.disabled")
        api.post_job()
        api.post_job()
        send_once = Deliverer(api.database, api.parts.pepper, Poster(LOOPBACK))
        send_once.tick()
        send_once.close()
        assert len(gone.received) == 1
    shown = api.client.get(f"{WEBHOOKS}/{left['id']}").json()
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "gone")
    assert sorted(one["status"] for one in deliveries(api, left)) == ["failed", "pending"]

    api.client.delete(f"{WEBHOOKS}/{left['id']}")
    send()
    (told,) = receiver.received
    event = json.loads(told.body)
    assert event["type"] == "webhook.disabled"
    assert (event["data"]["id"], event["data"]["reason"]) == (left["id"], "gone")


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"url": "https://127.0.0.2/"}, "/url"),
        ({"url": "https://user@hooks.example.com/"}, "/url"),
        ({"url": "https://169.254.169.254/"}, "/url"),
        ({"url": "ftp://hooks.example.com/"}, "/url"),
        ({"url": ""}, "/url"),
        ({"url": 7}, "/url"),
        ({"event_types": []}, "/event_types"),
        ({"event_types": ["job.done"]}, "/event_types/0"),
        ({"secret": "whsec_x"}, "/secret"),
    ],
)
def test_what_makes_no_webhook_is_told_where(api: Api, changes: Made, pointer: str) -> None:
    made = make(api, "https://hooks.example.com/")
    created = api.client.post(WEBHOOKS, json={"url": "https://hooks.example.com/", **changes})
    changed = api.client.patch(f"{WEBHOOKS}/{made['id']}", json=changes)
    for answer in (created, changed):
        assert answer.status_code == 422
        assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]


def test_a_project_has_twenty_webhooks_at_most_and_lists_them_by_page(api: Api) -> None:
    ids = [make(api, "https://hooks.example.com/")["id"] for _ in range(20)]
    refused = api.client.post(WEBHOOKS, json={"url": "https://hooks.example.com/"})
    assert refused.status_code == 409
    page = api.client.get(f"{WEBHOOKS}?limit=15").json()
    rest = api.client.get(f"{WEBHOOKS}?limit=15&after={page['last_id']}").json()
    assert [one["id"] for one in page["data"] + rest["data"]] == ids[::-1]
    assert (page["has_more"], rest["has_more"]) == (True, False)


def test_another_project_s_webhook_is_told_nothing_and_its_deliveries_are_its_own(
    api: Api, receiver: Receiver, send: Callable[[], None]
) -> None:
    mine = make(api, receiver.url)
    other = api.client.post(
        WEBHOOKS, json={"url": receiver.url}, headers=api.key(project="other")
    ).json()
    sent = api.client.post(f"{WEBHOOKS}/{mine['id']}/test").json()
    send()
    paths = [f"{mine['id']}/deliveries/{sent['id']}", f"{mine['id']}/deliveries"]
    for path in (mine["id"], *paths):
        answer = api.client.get(f"{WEBHOOKS}/{path}", headers=api.key(project="other"))
        assert answer.status_code == 404
    second = make(api, f"{receiver.url}second")
    for verb, path in (("GET", ""), ("POST", "/redeliver")):
        crossed = f"{WEBHOOKS}/{second['id']}/deliveries/{sent['id']}{path}"
        assert api.client.request(verb, crossed).status_code == 404
    assert api.client.delete(f"{WEBHOOKS}/{second['id']}").status_code == 204
    crossed = f"{WEBHOOKS}/{other['id']}/deliveries/{sent['id']}"
    assert api.client.get(crossed, headers=api.key(project="other")).status_code == 404
    api.post_job()
    send()
    with api.database.read() as session:
        assert set(session.scalars(select(WebhookDelivery.webhook_id))) == {mine["id"]}
