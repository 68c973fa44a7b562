"""A doorbell is worth one job, and nobody rings twice."""

from types import ModuleType

from tests.faults.sabotage.after_import import after_import


def _ring_no_more(reconciler: ModuleType) -> None:
    reconciler.Reconciler._ring = lambda _self: None  # noqa: SLF001


def _run_one(supervisor: ModuleType) -> None:
    supervisor.Supervisor.run_all = supervisor.Supervisor.run_next


after_import("app.reconciler", _ring_no_more)
after_import("worker.supervisor", _run_one)
