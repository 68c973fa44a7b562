"""Where the machine allows it, a trainer runs in a sandbox: no network, and only its own processes.

That is bubblewrap's, https://github.com/containers/bubblewrap; without it, or where the kernel
forbids it, the trainer runs as a plain process that the kernel kills with its worker.
"""

import functools
import shutil
import subprocess
from pathlib import Path

from structlog import get_logger

log = get_logger(__name__)

OPTIONS = (
    *("--die-with-parent", "--unshare-pid", "--unshare-net"),
    *("--dev-bind", "/", "/", "--proc", "/proc"),
)
PROBE_SECONDS = 10


@functools.cache
def prefix() -> tuple[str, ...]:
    """Return what is put before a trainer's command; nothing where sandboxes do not work here."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return ()
    command = (bwrap, *OPTIONS, "--")
    try:
        subprocess.run(  # noqa: S603 (the command is ours)
            [*command, "true"], check=True, capture_output=True, timeout=PROBE_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("no_sandbox", reason=str(error))
        return ()
    return command


def descendants(pid: int) -> list[int]:
    """Return the processes below one, its children first."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found


def _children(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in children.split()]
