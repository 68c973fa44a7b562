"""Going on with what another kind of machine has made is told, for the last bits may differ."""

import json
from pathlib import Path

from app.contracts.message import Warned
from app.contracts.training import Training
from tests.unit.worker.distillation.specs import Heard, spec_of
from worker.distillation.environment import note_environment
from worker.distillation.workspace import Workspace


def warnings_of(heard: Heard) -> list[str]:
    return [message.message for message in heard.messages if isinstance(message, Warned)]


def of_many_threads(folder: Path) -> None:
    note = folder / "environment.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "threads": "1000"}))


def test_the_same_machine_is_nothing_to_tell(tmp_path: Path) -> None:
    heard = Heard()
    for _ in range(2):
        note_environment(spec_of(), Workspace(tmp_path), heard.reporter)

    assert warnings_of(heard) == []


def test_another_machine_is_told_once_with_what_differs(tmp_path: Path) -> None:
    heard = Heard()
    note_environment(spec_of(), Workspace(tmp_path), heard.reporter)
    of_many_threads(tmp_path)
    for _ in range(2):
        note_environment(spec_of(), Workspace(tmp_path), heard.reporter)

    (warning,) = warnings_of(heard)
    assert "last bits: threads was 1000 and is " in warning


def test_a_free_run_promises_nothing_and_warns_of_nothing_here(tmp_path: Path) -> None:
    heard, free = Heard(), spec_of(training=Training(deterministic=False).model_dump())
    note_environment(free, Workspace(tmp_path), heard.reporter)
    of_many_threads(tmp_path)
    note_environment(free, Workspace(tmp_path), heard.reporter)

    assert warnings_of(heard) == []
