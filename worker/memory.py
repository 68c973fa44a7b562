"""Whether the machine ran out of memory: the kernel counts whom it has killed for that."""

from pathlib import Path

COUNTERS = Path("/proc/vmstat")


def num_killed() -> int:
    """Return how many processes the kernel has killed for memory since it started; 0 if unknown."""
    try:
        lines = COUNTERS.read_text().splitlines()
    except OSError:
        return 0
    counts = dict(line.split(maxsplit=1) for line in lines)
    return int(counts.get("oom_kill", 0))
