"""Becomes another program, which the kernel kills once the process that started it has died.

Run by its path as `leash.py PARENT_PID COMMAND...`, so that no other code of ours is loaded.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the line above.
    if os.getppid() == parent:
        os.execvp(command[0], command)  # noqa: S606 (becoming another program is the purpose)


if __name__ == "__main__":
    main()
