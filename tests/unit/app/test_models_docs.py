"""The examples of docs/models.md that move an alias run as they are printed."""

import json
from pathlib import Path
from typing import Any

import httpx2

from tests.pages import examples, run_bash
from tests.unit.app.conftest import JOBS, spec
from tests.unit.app.served import report, serve


def test_the_examples_make_and_move_an_alias_and_refuse_who_comes_late(tmp_path: Path) -> None:
    about_aliases = [one for one in examples("docs/models.md") if "alias" in one]
    assert len(about_aliases) == 2
    with serve(tmp_path) as served:
        for number in range(2):
            headers = {"Authorization": f"Bearer {served.key_file.read_text()}"}
            body = spec(name="digits")
            httpx2.post(f"{served.url}{JOBS}", json=body, headers=headers).raise_for_status()
            config = tmp_path / str(number) / "student" / "config.json"
            config.parent.mkdir(parents=True)
            config.write_text("{}")
            served.succeed(served.claim(), tmp_path / str(number), report())
        told = run_bash("echo\n".join(about_aliases), served.variables | {"NAME": "digits"})
    made, model, moved, status = values_in(told)
    assert (made["id"], made["version"], moved["version"]) == ("digits@production", 1, 2)
    assert (model["id"], model["aliases"]) == (made["model_id"], ["production"])
    assert status == 412


def values_in(text: str) -> list[Any]:
    """Read JSON values that stand one after the other."""
    values = []
    while text := text.lstrip():
        value, end = json.JSONDecoder().raw_decode(text)
        values.append(value)
        text = text[end:]
    return values
