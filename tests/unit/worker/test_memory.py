"""The kernel's count of processes that it has killed for memory."""

from pathlib import Path

import pytest

from worker import memory


@pytest.mark.parametrize(
    ("content", "count"), [("pgfault 9\noom_kill 4\nswap_ra 0\n", 4), ("pgfault 9\n", 0)]
)
def test_the_kernel_s_count_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, count: int
) -> None:
    (tmp_path / "vmstat").write_text(content)
    monkeypatch.setattr(memory, "COUNTERS", tmp_path / "vmstat")

    assert memory.num_killed() == count


def test_a_machine_that_does_not_count_has_killed_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "COUNTERS", tmp_path / "none")

    assert memory.num_killed() == 0
