"""Rehearsals on disks that fill up: `python -m tests.faults.disk_trials SPEC`, asked line by line.

A line is `MODE AT FOLDER`: a process of its own rehearses the spec in that folder, on a disk as in
``full_disk.py``. The answer is a line with its exit code and how many operations there were.
"""

import os
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace

import worker.distillation.checkpoint as checkpoints
from tests.faults.full_disk import Disk, put_between
from worker import rehearsal

TICK_SECONDS = 0.1
MESSAGES = "messages"
ERRORS = "errors"


def main() -> None:
    """Answer each line; every rehearsal is a fork of this process, which has loaded all of it."""
    spec = sys.argv[1]
    for line in sys.stdin:
        mode, at, folder = line.split()
        counted, count = os.pipe()
        pid = os.fork()
        if pid == 0:
            os._exit(_rehearse(spec, Disk(folder, mode, int(at)), Path(folder), count))
        os.close(count)
        _, status = os.waitpid(pid, 0)
        with os.fdopen(counted) as stream:
            operations = stream.read() or "0"
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)} {operations}\n")
        sys.stdout.flush()


def _rehearse(spec: str, disk: Disk, folder: Path, count: int) -> int:
    # A pipe on which nothing comes: nobody asks this trainer to stop.
    heard, _ = os.pipe()
    with (folder / MESSAGES).open("wb") as messages, (folder / ERRORS).open("wb") as errors:
        os.dup2(errors.fileno(), sys.stderr.fileno())
        descriptors = ["--messages-fd", str(os.dup(messages.fileno())), "--control-fd", str(heard)]
    # A clock that goes by how often it is looked at: checkpoints at the same steps each time.
    seconds = iter(range(10**9))
    clock = SimpleNamespace(monotonic=lambda: TICK_SECONDS * next(seconds))
    vars(checkpoints)["time"] = clock
    put_between(disk)
    try:
        code = rehearsal.main([spec, str(folder), *descriptors])
    except BaseException:  # noqa: BLE001 (as the interpreter would)
        traceback.print_exc()
        code = 1
    os.write(count, str(disk.count).encode())
    return code


if __name__ == "__main__":
    main()
