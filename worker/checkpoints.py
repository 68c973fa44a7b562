"""A trainer's checkpoints: stored and committed while it works on.

The commit of its row is what makes a checkpoint count; until then the one before does.
"""

import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from obstore.exceptions import BaseError
from sqlalchemy.exc import SQLAlchemyError
from structlog import get_logger
from uuid_utils import uuid7

from app.contracts.message import CheckpointWritten
from app.db import verbs
from app.db.blobs import named_of
from app.db.checkpoints import Checkpoint, CheckpointFile
from app.db.session import Database, database_now
from app.db.verbs import KEPT_CHECKPOINTS
from app.storage import Storage
from worker.delivery import BadDelivery, inside, store_file
from worker.lease import Claim
from worker.observation import CHECKPOINT_SECONDS, CHECKPOINTS

log = get_logger(__name__)

RETRY_SECONDS = 2.0
MOST_TRIES = 15
"""Of the last checkpoint, for which an attempt that ends waits."""
GIVEN_UP_SECONDS = 2.0
OFFERS = "checkpoint.offers"
PRIVATE = {"training.safetensors"}
"""Files whose bytes no other job makes; a model's weights may be another's as well."""


class GivenUp(Exception):
    """The attempt is over, and nothing more is kept of it."""


@dataclass(frozen=True)
class Offer:
    """A checkpoint that a trainer has told of, and where its files are linked."""

    message: CheckpointWritten
    folder: Path
    id: str
    """Of its row, whenever that is written: a commit whose answer was lost is not made twice."""


class Keeper:
    """Keeps checkpoints in a thread of its own: storing one may take longer than a lease lasts.

    Only the newest that was offered is kept; leaving the block waits for it, unless ``give_up``.
    """

    def __init__(self, database: Database, storage: Storage, claim: Claim, folder: Path) -> None:
        self._database = database
        self._storage = storage
        self._claim = claim
        self._folder = folder
        self._offered: Offer | None = None
        self._num_offers = 0
        self._stored: set[str] = set()
        self._private: list[set[str]] = []
        """Of each checkpoint committed here, the digests that no other job's file has."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._given_up = False
        self._thread = threading.Thread(target=self._keep_until_the_end, name="keeper", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._wake.set()
        # One large file may be under way; it is lost with its fence, and nobody waits for it.
        self._thread.join(timeout=GIVEN_UP_SECONDS if self._given_up else None)

    def offer(self, message: CheckpointWritten) -> None:
        """Keep this checkpoint, unless a newer one comes before its turn.

        Its files are linked aside at once: the trainer will remove them while they are stored.
        """
        self._num_offers += 1
        folder = self._folder / OFFERS / str(self._num_offers)
        offer = Offer(message, folder, f"checkpoint-{uuid7()}")
        try:
            self._link(offer)
        except (BadDelivery, OSError) as error:
            log.warning("checkpoint_not_taken", reason=str(error), **self._names)
            self._unlink(offer)
            return
        with self._lock:
            passed_over, self._offered = self._offered, offer
        if passed_over is not None:
            self._unlink(passed_over)
        self._wake.set()

    def give_up(self) -> None:
        """Keep nothing more: the job is cancelled, or another attempt's."""
        self._given_up = True

    def _link(self, offer: Offer) -> None:
        for file in offer.message.files:
            source = inside(self._folder, file.path)
            target = offer.folder / file.path
            # Outputs of earlier stages are in every checkpoint and never change.
            if file.sha256 not in self._stored:
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    target.hardlink_to(source)
                except OSError:
                    # There are file systems without such links.
                    shutil.copyfile(source, target, follow_symlinks=False)

    @staticmethod
    def _unlink(offer: Offer) -> None:
        # There is no folder where every file was stored before.
        shutil.rmtree(offer.folder, ignore_errors=True)

    def _keep_until_the_end(self) -> None:
        tries_left = MOST_TRIES
        while tries_left and not self._given_up:
            # Asked before the offer is taken, so that the last one is not missed.
            stopping = self._stopping
            offer = self._taken()
            if offer is not None:
                kept = self._try(offer)
                tries_left -= stopping and not kept
            elif stopping:
                return
            else:
                self._wake.wait()
                self._wake.clear()

    def _taken(self) -> Offer | None:
        with self._lock:
            offer, self._offered = self._offered, None
        return offer

    def _try(self, offer: Offer) -> bool:
        """Keep a checkpoint; return whether nothing more is to be done about it."""
        try:
            with CHECKPOINT_SECONDS.time():
                self._keep(offer)
        except (verbs.FenceLost, BadDelivery, GivenUp) as error:
            log.warning("checkpoint_passed_over", reason=str(error), **self._names)
            CHECKPOINTS.labels("passed over").inc()
        except (SQLAlchemyError, BaseError, OSError) as error:
            log.warning("checkpoint_not_kept", reason=type(error).__name__, **self._names)
            CHECKPOINTS.labels("not kept").inc()
            time.sleep(RETRY_SECONDS)
            with self._lock:
                newer = self._offered
                self._offered = newer or offer
            if newer is not None:
                self._unlink(offer)
            return False
        self._unlink(offer)
        return True

    def _keep(self, offer: Offer) -> None:
        message = offer.message
        for file in message.files:
            if self._given_up:
                raise GivenUp("the attempt is over")
            if file.sha256 not in self._stored:
                store_file(self._storage, offer.folder, file)
                self._stored.add(file.sha256)
        files = [
            CheckpointFile(path=file.path, bytes=file.bytes, sha256=file.sha256)
            for file in message.files
        ]
        with self._database.write() as session:
            job = verbs.hold(session, self._claim.job_id, self._claim.fence)
            if session.get(Checkpoint, offer.id) is not None:
                return
            row = Checkpoint(
                id=offer.id,
                phase=message.phase,
                role=message.role,
                folder=message.folder,
                step=message.step,
                epoch=message.epoch,
                metrics=message.metrics,
                created_at=database_now(session),
            )
            verbs.commit_checkpoint(session, job, row, files)
        log.info("checkpoint_kept", phase=message.phase, step=message.step, **self._names)
        CHECKPOINTS.labels("kept").inc()
        self._private.append({f.sha256 for f in message.files if Path(f.path).name in PRIVATE})
        try:
            self._remove_forgotten()
        except (SQLAlchemyError, BaseError, OSError) as error:
            # The reconciler removes them after a day.
            log.warning("optimizers_not_removed", reason=type(error).__name__, **self._names)

    def _remove_forgotten(self) -> None:
        """Remove the bytes of optimizers that nothing names any more.

        They would else lie about for a day, and those of a large model are many. A client may have
        uploaded them as a file of its own.
        """
        forgotten = set().union(*self._private[:-KEPT_CHECKPOINTS])
        with self._database.read() as session:
            named = named_of(session, forgotten)
        for digest in forgotten - named:
            self._storage.delete(digest)
            self._stored.discard(digest)
        self._private = self._private[-KEPT_CHECKPOINTS:]

    @property
    def _names(self) -> dict[str, object]:
        return {"job_id": self._claim.job_id, "fence": self._claim.fence}
