"""A worker's writes count whether or not its fence is still the job's."""

from types import ModuleType

from tests.faults.sabotage.after_import import after_import


def _change(verbs: ModuleType) -> None:
    vars(verbs)["hold"] = lambda session, job_id, _fence: verbs.lock(session, job_id)


after_import("app.db.verbs", _change)
