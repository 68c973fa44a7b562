"""The examples of docs/webhooks.md work as they are printed, against the processes themselves."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.local.valkey import free_port
from app.services.signatures import headers_of, secret_of
from tests.house import wait_for_line
from tests.pages import examples, run_bash
from tests.unit.app.served import Served, serve

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "webhooks.md").read_text()
RECEIVER, UNWRAPPER = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
(SESSION,) = examples("docs/webhooks.md")
UNTIL_TOLD = """
for _ in $(seq 1200); do grep -q job.created received.log && break; sleep 0.1; done
kill $!
"""


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Serve the API, with a deliverer beside it."""
    monkeypatch.setenv("STILLHOUSE_WEBHOOK_NETWORKS", "127.0.0.1/32")
    folder = tmp_path / "service"
    folder.mkdir()
    with serve(folder) as api, (folder / "deliverer.log").open("wb") as log:
        places = {
            "STILLHOUSE_DATABASE_URL": f"sqlite:///{folder}/test.db",
            "STILLHOUSE_PEPPER_FILE": str(folder / "pepper"),
        }
        command = [sys.executable, "-m", "app.cli", "deliverer"]
        deliverer = subprocess.Popen(command, env=os.environ | places, stdout=log, stderr=log)
        try:
            wait_for_line(folder / "deliverer.log", "deliverer_started")
            yield api
        finally:
            deliverer.send_signal(signal.SIGTERM)
            code = deliverer.wait(timeout=60)
    assert code == 0


def test_the_documented_receiver_is_told_of_a_job(served: Served, tmp_path: Path) -> None:
    port = str(free_port())
    (tmp_path / "receiver.py").write_text(RECEIVER.replace("9000", port))
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    run_bash(SESSION.replace("9000", port) + UNTIL_TOLD, served.variables, tmp_path)

    received = (tmp_path / "received.log").read_text().split("\n")
    assert received[0].startswith("webhook.test webhook-")
    assert received[1].startswith("distillation.job.created distjob-")
    log = (tmp_path / "service" / "deliverer.log").read_text()
    assert '"status": 204' in log
    assert "whsec_" not in log
    assert "/hook" not in log


def test_the_documented_function_unwraps_an_event(tmp_path: Path) -> None:
    path = tmp_path / "unwrapper.py"
    path.write_text(UNWRAPPER)
    spec = importlib.util.spec_from_file_location("unwrapper", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pepper, now = b"p" * 32, int(time.time())
    sent = {"id": "event-1", "type": "fine_tuning.job.failed", "created_at": now}
    body = json.dumps({**sent, "data": {"id": "distjob-1"}}).encode()
    headers = headers_of(pepper, "webhook-1", [1], "event-1", now, body)

    event = module.event_of(body, headers, secret_of(pepper, "webhook-1", 1))

    assert (event.type, event.data.id) == ("fine_tuning.job.failed", "distjob-1")
