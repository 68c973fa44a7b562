"""Every example of docs/api.md runs as it is printed, and its table of errors is whole."""

import json
import re
from pathlib import Path

from app import errors
from tests.pages import ROOT, examples, run_bash
from tests.unit.app.served import serve

PAGE = (ROOT / "docs" / "api.md").read_text()


def test_the_examples_run_and_do_what_the_page_says(tmp_path: Path) -> None:
    first, *rest = examples("docs/api.md")
    spec = next(re.findall(r"^spec='.*?'$", one, re.DOTALL | re.MULTILINE) for one in rest[2:])
    with serve(tmp_path) as served:
        scripts = ["\n".join([first, *spec, one]) for one in rest]
        told = [run_bash(script, served.variables) for script in scripts]
    mistake, request_id, twice, checked, page = told
    assert json.loads(mistake)["status"] == 422
    assert "digits" in json.loads(mistake)["detail"]
    assert "x-request-id: nightly-7" in request_id.lower()
    assert "x-should-retry: false" in request_id.lower()
    assert twice.count("HTTP/1.1 201") == 2
    assert twice.lower().count("idempotency-replayed: true") == 1
    assert json.loads(checked)["object"] != "list"
    assert json.loads(page) | {"data": []} == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


def test_the_table_of_errors_has_each_there_is() -> None:
    rows = re.findall(r"^\| (\d{3}) \| (`.*?`) \|", PAGE, re.MULTILINE)
    told = {(int(status), code) for status, codes in rows for code in re.findall(r"\w+", codes)}
    assert told == {
        (error.status, error.code)
        for error in vars(errors).values()
        if isinstance(error, type)
        and issubclass(error, errors.ServiceError)
        and "code" in vars(error)
    }
