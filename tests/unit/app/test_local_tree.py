"""A tree of real processes: what dies is started again, and nothing outlives the tree."""

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from app.local.tree import Command, Tree

SOON_SECONDS = 60.0


@pytest.fixture
def tree() -> Iterator[Tree]:
    tree = Tree()
    yield tree
    tree.stop()


def shell(script: str, patience_seconds: float = 10.0) -> Command:
    return Command("part", ["/bin/sh", "-c", script], patience_seconds=patience_seconds)


def soon(condition: Callable[[], bool]) -> Callable[[], bool]:
    give_up = time.monotonic() + SOON_SECONDS

    def check() -> bool:
        assert time.monotonic() < give_up, "it took too long"
        return condition()

    return check


def number_in(path: Path) -> int | None:
    return int(path.read_text()) if path.exists() and path.read_text().endswith("\n") else None


def test_a_process_that_was_killed_runs_again(tree: Tree) -> None:
    tree.start(shell("sleep 60"))
    first = tree.pids()["part"]
    assert first is not None
    os.kill(first, signal.SIGKILL)

    assert tree.tend_until(soon(lambda: tree.pids()["part"] not in {None, first}))


def test_a_process_that_keeps_dying_is_started_ever_more_rarely(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.local.tree.SHORTEST_WAIT_SECONDS", 0.2)
    starts = tmp_path / "starts"
    tree.start(shell(f"date +%s.%N >> {starts}"))

    def four() -> bool:
        return starts.exists() and len(starts.read_text().split()) >= 4

    assert tree.tend_until(soon(four))
    times = [float(line) for line in starts.read_text().split()]
    # A busy machine makes them longer, and nothing shorter.
    for (earlier, later), wait in zip(itertools.pairwise(times), (0.2, 0.4, 0.8), strict=False):
        assert later - earlier >= wait


def test_stopping_asks_first(tree: Tree, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    tree.start(
        shell(f"trap 'echo yes > {asked}; exit' TERM; echo 1 > {tmp_path}/up; sleep 60 & wait")
    )
    assert tree.tend_until(soon((tmp_path / "up").exists))

    tree.stop()

    assert asked.read_text() == "yes\n"


def test_what_does_not_end_when_asked_is_killed_with_its_children(
    tree: Tree, tmp_path: Path
) -> None:
    child = tmp_path / "child"
    script = f"trap '' TERM; sleep 61 & echo $! > {child}; wait; sleep 62"
    tree.start(shell(script, patience_seconds=0.3))
    assert tree.tend_until(soon(lambda: number_in(child) is not None))
    parent = tree.pids()["part"]

    tree.stop()

    assert parent is not None
    assert not psutil.pid_exists(parent)
    grandchild = number_in(child)
    assert grandchild is not None
    assert soon_gone(grandchild)


def test_a_second_signal_does_not_wait(tree: Tree, tmp_path: Path) -> None:
    tree.start(shell(f"trap '' TERM; echo 1 > {tmp_path}/up; sleep 63", patience_seconds=100))
    assert tree.tend_until(soon((tmp_path / "up").exists))
    tree.ask_to_stop()
    tree.ask_to_stop()
    begin = time.monotonic()

    assert not tree.tend_until()
    tree.stop()

    assert time.monotonic() - begin < SOON_SECONDS


def test_nothing_outlives_a_tree_that_was_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = f"""
        from app.local.tree import Command, Tree
        tree = Tree()
        tree.start(Command("part", ["/bin/sh", "-c", "echo $$ > {pid_file}; exec sleep 64"]))
        tree.tend_until()
    """
    owner = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    give_up = time.monotonic() + SOON_SECONDS
    while (pid := number_in(pid_file)) is None:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    assert psutil.pid_exists(pid)

    owner.kill()
    owner.wait()

    assert soon_gone(pid)


def test_output_is_appended_to_the_log(tree: Tree, tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    log.write_text("before\n")
    tree.start(Command("part", ["/bin/sh", "-c", "echo out; echo err >&2; sleep 65"], log_file=log))

    assert tree.tend_until(soon(lambda: log.read_text() == "before\nout\nerr\n"))


def soon_gone(pid: int) -> bool:
    """Return whether the process ends within a moment; a zombie has ended."""
    give_up = time.monotonic() + SOON_SECONDS
    while time.monotonic() < give_up:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False
