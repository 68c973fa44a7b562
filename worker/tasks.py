"""Celery's entry point, nothing but that: a doorbell rings, and the supervisor looks for jobs."""

import ctypes
import mmap
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import Celery
from celery.signals import (
    celeryd_init,
    setup_logging,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)
from sqlalchemy.exc import DBAPIError
from structlog import get_logger
from uuid_utils import uuid7

from app import logs
from app.config import Settings
from app.contracts.task import CELERY_SETTINGS, DOORBELL
from app.db import workers
from app.db.session import Database
from app.local.workers import torch_finds_gpu
from app.tracing import open_tracing
from worker.observation import serve_metrics
from worker.supervisor import Supervisor

log = get_logger(__name__)

PR_SET_PDEATHSIG = 1
HEARTBEAT_SECONDS = 10.0

logs.configure()
settings = Settings()
worker_id = f"worker-{uuid7()}"
# One byte that Celery's main process shares with the child that runs the jobs.
_draining = mmap.mmap(-1, 1)
_supervisor: list[Supervisor] = []
_closing: list[Callable[[], None]] = []

celery = Celery("stillhouse", broker=settings.broker_url)
celery.conf.update(CELERY_SETTINGS)


@setup_logging.connect
def _leave_logs_alone(**_: Any) -> None:  # noqa: ANN401 (Celery's signals pass what they like)
    """Keep Celery from setting up its own, which has another form."""


@celeryd_init.connect
def _require_gpu(**_: Any) -> None:  # noqa: ANN401 (Celery's signals pass what they like)
    """Refuse to start without the GPU that this worker is to have: each of its jobs would fail."""
    if settings.worker_gpus and not torch_finds_gpu():
        _say_gpu_is_away()
        sys.exit(os.EX_UNAVAILABLE)


@celery.task(name=DOORBELL)
def doorbell(job_id: str) -> None:
    """Run what waits; the id only says in the log which job rang."""
    log.info("doorbell", job_id=job_id)
    _supervisor[0].run_all()
    if _supervisor[0].gpu_is_away:
        _say_gpu_is_away()
        os.kill(os.getppid(), signal.SIGTERM)


@worker_process_init.connect
def _begin(**_: Any) -> None:  # noqa: ANN401 (Celery's signals pass what they like)
    # Without this, killing Celery's main process would leave the child at work.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    tracing = open_tracing("stillhouse-worker")
    supervisor = Supervisor(
        settings,
        worker_id,
        settings.worker_gpus,
        lambda: _draining[0] != 0,
        tracing.provider.get_tracer("stillhouse"),
    )
    _supervisor[:] = [supervisor]
    _closing[:] = [supervisor.close, tracing.close]
    if settings.worker_metrics_port:
        serve_metrics(settings.worker_metrics_host, settings.worker_metrics_port)


@worker_process_shutdown.connect
def _end(**_: Any) -> None:  # noqa: ANN401 (Celery's signals pass what they like)
    for close in _closing:
        close()


@worker_shutting_down.connect
def _drain(**_: Any) -> None:  # noqa: ANN401 (Celery's signals pass what they like)
    _draining[0] = 1


@worker_ready.connect
def _appear(**_: Any) -> None:  # noqa: ANN401 (Celery's signals pass what they like)
    threading.Thread(target=_say_alive, name="heartbeat", daemon=True).start()


@worker_shutdown.connect
def _disappear(**_: Any) -> None:  # noqa: ANN401 (Celery's signals pass what they like)
    _tell(lambda database: workers.leave(database, worker_id))


def _say_gpu_is_away() -> None:
    log.error(
        "gpu_away",
        devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        hint="STILLHOUSE_WORKER_GPUS is 1 and torch finds no GPU: look at nvidia-smi; after an "
        "update of the driver the machine may have to be restarted, and torch's CUDA may need a "
        "newer one. To run on the CPU, set CUDA_VISIBLE_DEVICES to nothing.",
    )


def _say_alive() -> None:
    hostname = socket.gethostname()
    while not _draining[0]:
        _tell(lambda database: workers.see(database, worker_id, hostname, settings.worker_gpus))
        time.sleep(HEARTBEAT_SECONDS)


def _tell(write: Callable[[Database], None]) -> None:
    # Opened anew each time: a connection must not live through the fork of a new child.
    database = Database(settings.database_url)
    try:
        write(database)
    except DBAPIError as error:
        log.warning("heartbeat_failed", reason=str(error.orig))
    finally:
        database.close()
