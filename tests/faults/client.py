"""A client that notes what the service has promised, and every answer that it got."""

import threading
import time
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.faults.history import Answer

PATH = "/v1/distillation/jobs"
PATIENCE_SECONDS = 120
LONGEST_WAIT_SECONDS = 1.0


@dataclass(frozen=True)
class Promise:
    """A job that the service has acknowledged, and what was asked for."""

    job_id: str
    spec: dict[str, Any]
    at: float
    """Seconds since the epoch, when the answer had come."""


class Client:
    """Asks again until it is answered, with a key, so that asking twice makes one job."""

    def __init__(self, http: httpx2.Client) -> None:
        self._http = http
        self._lock = threading.Lock()
        self.promises: dict[str, Promise] = {}
        self.answers: list[Answer] = []

    def post(self, spec: dict[str, Any]) -> str:
        """Post a job until it is acknowledged; return its id. Its name is its key."""
        answer = self.ask("POST", PATH, json=spec, headers={"Idempotency-Key": spec["name"]})
        assert answer.status_code == httpx2.codes.CREATED, answer.text
        job_id = str(answer.json()["id"])
        with self._lock:
            self.promises[job_id] = Promise(job_id, spec, time.time())
        return job_id

    def cancel(self, job_id: str) -> bool:
        """Return whether the service took the wish; it refuses for a job that has ended."""
        answer = self.ask("POST", f"{PATH}/{job_id}/cancel")
        assert answer.status_code in {httpx2.codes.OK, httpx2.codes.CONFLICT}, answer.text
        return answer.status_code == httpx2.codes.OK

    def job(self, job_id: str) -> dict[str, Any]:
        answer = self.ask("GET", f"{PATH}/{job_id}")
        assert answer.status_code == httpx2.codes.OK, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:  # noqa: ANN401 (httpx's)
        """Ask until the answer is not that the service is away."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                answer = self._http.request(method, path, **options)
            except httpx2.TransportError as error:
                self._note(Answer(time.time(), method, path, 0, type(error).__name__))
            else:
                wait = answer.headers.get("Retry-After")
                self._note(Answer(time.time(), method, path, answer.status_code, wait))
                if answer.status_code < httpx2.codes.INTERNAL_SERVER_ERROR:
                    return answer
            assert time.monotonic() < give_up, "the service is away for too long"
            time.sleep(LONGEST_WAIT_SECONDS)

    def _note(self, answer: Answer) -> None:
        with self._lock:
            self.answers.append(answer)
