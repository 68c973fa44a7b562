"""What the kernel tells of a running process."""

import time
from pathlib import Path


def limit_of(pid: int, what: str) -> int:
    """Read a limit of a process, once it has set it."""
    give_up = time.monotonic() + 30
    while True:
        (line,) = (
            line
            for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
            if line.startswith(what)
        )
        soft = line.removeprefix(what).split()[0]
        if soft != "unlimited":
            return int(soft)
        assert time.monotonic() < give_up, what
        time.sleep(0.02)


def environment_of(pid: int) -> set[str]:
    """Return the names of the variables that a process was started with."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return {pair.partition(b"=")[0].decode() for pair in pairs if pair}
