"""The doorbell: tells a worker that there may be a job; the database says which."""

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError
from structlog import get_logger

from app.contracts.task import CELERY_SETTINGS, DOORBELL, DOORBELL_EXPIRES_SECONDS, QUEUE

log = get_logger(__name__)


class Queue:
    """Celery over Redis or Valkey, used for nothing but ringing."""

    def __init__(self, broker_url: str) -> None:
        self._celery = Celery("stillhouse", broker=broker_url)
        self._celery.conf.update(CELERY_SETTINGS)
        self._redis = Redis.from_url(broker_url, socket_connect_timeout=2, socket_timeout=2)

    def ring(self, job_id: str) -> bool:
        """Ring for a job that is already committed; return whether the queue took it.

        A lost doorbell loses no job: the reconciler rings again.
        """
        try:
            self._celery.send_task(
                DOORBELL, args=[job_id], queue=QUEUE, expires=DOORBELL_EXPIRES_SECONDS
            )
        except (OperationalError, OSError) as error:
            log.warning("doorbell_not_rung", job_id=job_id, reason=str(error))
            return False
        return True

    def is_empty(self) -> bool:
        """Return whether no doorbell waits; also when the queue does not answer."""
        try:
            return self._redis.llen(QUEUE) == 0
        except RedisError:
            return True

    def ping(self) -> None:
        """Raise ``RedisError`` unless the queue answers."""
        self._redis.ping()

    def close(self) -> None:
        self._celery.close()
        self._redis.close()
