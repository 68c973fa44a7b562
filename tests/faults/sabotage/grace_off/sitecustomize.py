"""The reaper takes jobs back at once, however short it has been in contact with the database."""

from types import ModuleType

from tests.faults.sabotage.after_import import after_import


def _change(reconciler: ModuleType) -> None:
    reconciler.Reconciler._may_reap = lambda _self: True  # noqa: SLF001


after_import("app.reconciler", _change)
