"""The first attempt of a rehearsal finds its disk full, at the operation that its spec names."""

import json
import sys
from pathlib import Path

from tests.faults.full_disk import Disk, put_between


def _begin() -> None:
    arguments = sys.orig_argv
    if "worker.rehearsal" not in arguments:
        return
    spec = Path(arguments[arguments.index("worker.rehearsal") + 1])
    at = json.loads(spec.read_text())["metadata"].get("fault.full_at", "0")
    # A workspace is named for its attempt's fence.
    if spec.parent.name == "1":
        put_between(Disk(str(spec.parent), "full", int(at)))


_begin()
