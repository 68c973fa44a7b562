"""What webhooks' receivers are sent: at least once, each receiver one thing at a time.

Any number may run; a claim in the database keeps two of them from sending one thing together.
"""

import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from importlib.metadata import version

from sqlalchemy.exc import SQLAlchemyError
from structlog import get_logger

from app import logs
from app.config import Settings
from app.db import deliveries
from app.db.deliveries import Claim, Outcome
from app.db.session import Database
from app.outbound.post import Poster, Reply
from app.services.keys import load_pepper
from app.services.signatures import headers_of

log = get_logger(__name__)

THREADS = 32
MOST_OF_ONE_PROJECT = 8
"""Under way at once: a project whose receivers are all slow leaves the rest to others."""
LOOK_SECONDS = 1.0
REMOVE_EVERY_SECONDS = 3600.0
RESOLVER = "timeout:2 attempts:2"
"""The C library's: a name server that does not answer is given up within the 10 s of an attempt."""


class Deliverer:
    """Sends what is due, once per ``tick`` and whenever something has been sent."""

    def __init__(self, database: Database, pepper: bytes, poster: Poster) -> None:
        self._database = database
        self._pepper = pepper
        self._poster = poster
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="delivery")
        self._lock = threading.Lock()
        self._under_way: Counter[str] = Counter()
        self._remove_after = 0.0
        self.is_wanted = threading.Event()
        """Set when something has been sent: there may be more for the same receiver."""

    def tick(self) -> None:
        """Begin to send what is due; a database that is away is only noted."""
        try:
            self._begin_due()
            self._remove_old()
        except SQLAlchemyError as error:
            log.warning("database_away", reason=type(error).__name__)

    def close(self) -> None:
        """Wait for what is under way, 10 s at most, and begin nothing more."""
        self._threads.shutdown(cancel_futures=True)

    def _begin_due(self) -> None:
        while True:
            with self._lock:
                counts = dict(self._under_way)
            if sum(counts.values()) >= THREADS:
                return
            # Without a lock first: on SQLite a transaction that writes holds up all others.
            with self._database.read() as session:
                if not deliveries.is_any_due(session):
                    return
            busy = [one for one, number in counts.items() if number >= MOST_OF_ONE_PROJECT]
            with self._database.write() as session:
                claimed = deliveries.claim(session, busy)
            if claimed is None:
                return
            with self._lock:
                self._under_way[claimed.project_id] += 1
            self._threads.submit(self._deliver, claimed).add_done_callback(_complain)

    def _deliver(self, claimed: Claim) -> None:
        try:
            self._finish(claimed, self._send(claimed))
        finally:
            with self._lock:
                self._under_way[claimed.project_id] -= 1
            self.is_wanted.set()

    def _send(self, claimed: Claim) -> Outcome:
        body = claimed.body.encode()
        signed = headers_of(
            self._pepper,
            claimed.webhook_id,
            claimed.secret_numbers,
            claimed.event_id,
            int(time.time()),
            body,
        )
        agent = f"Stillhouse/{version('stillhouse')}"
        headers = {"Content-Type": "application/json", "User-Agent": agent, **signed}
        return _judge(self._poster.post(claimed.url, headers, body))

    def _finish(self, claimed: Claim, outcome: Outcome) -> None:
        # Never the URL: receivers' addresses often carry a secret of their own.
        told = log.bind(
            webhook_id=claimed.webhook_id,
            delivery_id=claimed.delivery_id,
            status=outcome.status,
            error=outcome.error,
            seconds=round(outcome.seconds, 3),
        )
        try:
            with self._database.write() as session:
                counts = deliveries.finish(session, claimed, outcome)
        except SQLAlchemyError as error:
            # Its claim runs out, and it is sent again: at least once.
            told.warning("delivery_not_noted", reason=type(error).__name__)
        else:
            told.info("delivery_attempted", counts=counts)

    def _remove_old(self) -> None:
        if time.monotonic() < self._remove_after:
            return
        with self._database.write() as session:
            removed = deliveries.remove_old(session)
        if removed < deliveries.MOST_REMOVED:
            self._remove_after = time.monotonic() + REMOVE_EVERY_SECONDS


def run(settings: Settings) -> None:
    """Send what is due until SIGTERM or SIGINT."""
    logs.configure()
    os.environ.setdefault("RES_OPTIONS", RESOLVER)
    stop = threading.Event()
    database = Database(settings.database_url)
    poster = Poster(settings.webhook_networks)
    deliverer = Deliverer(database, load_pepper(settings.pepper_file), poster)

    def ask_to_stop(*_: object) -> None:
        stop.set()
        deliverer.is_wanted.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    log.info("deliverer_started", threads=THREADS)
    while not stop.is_set():
        deliverer.is_wanted.clear()
        deliverer.tick()
        deliverer.is_wanted.wait(LOOK_SECONDS)
    deliverer.close()
    database.close()


def _complain(done: Future[None]) -> None:
    """Log what no one foresaw; the claim runs out, and it is tried again."""
    error = done.exception()
    if error is not None:
        log.error("delivery_crashed", exc_info=error)


def _judge(reply: Reply) -> Outcome:
    """Tell whether a receiver has taken what it was sent: any status of the 200s says so."""
    error = reply.error
    if error is None and reply.status is not None:
        if HTTPStatus.MULTIPLE_CHOICES <= reply.status < HTTPStatus.BAD_REQUEST:
            error = "a redirect; these are not followed, so change the webhook's URL"
        elif not HTTPStatus.OK <= reply.status < HTTPStatus.MULTIPLE_CHOICES:
            error = f"the receiver answered {reply.status}"
    return Outcome(reply.seconds, reply.status, reply.answer, error)
