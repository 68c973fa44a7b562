"""What a process that looks at an uploaded file may take."""

import resource
import signal
from types import FrameType
from typing import NoReturn

MOST_MEMORY_BYTES = 512 * 2**20
MOST_SECONDS = 8


def limit() -> None:
    """Take from this process what a look does not need; what is too slow is a TimeoutError."""
    for what, most in (
        (resource.RLIMIT_AS, MOST_MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 16),
    ):
        resource.setrlimit(what, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS + 2))
    signal.signal(signal.SIGXCPU, _give_up)


def _give_up(_number: int, _frame: FrameType | None) -> NoReturn:
    raise TimeoutError
