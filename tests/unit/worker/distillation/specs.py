"""Small specs for the tests of the stages."""

from pathlib import Path

from app.contracts.job import JobSpec
from app.contracts.message import AnyMessage
from worker.distillation.reporting import Reporter
from worker.distillation.workspace import Workspace

MLP = {"name": "mlp", "hidden_sizes": [8]}


def spec_of(**changes: object) -> JobSpec:
    """Return a spec over the digits, with whole fields replaced."""
    fields: dict[str, object] = {
        "dataset": {"source": "builtin", "name": "digits"},
        "teacher": {"source": "train", "architecture": {"name": "mlp", "hidden_sizes": [32]}},
        "student": {"architecture": MLP},
    }
    return JobSpec.model_validate(fields | changes)


class Heard:
    """A reporter, and what it said."""

    def __init__(self) -> None:
        self.messages: list[AnyMessage] = []
        self.reporter = Reporter(self.messages.append)


def workspace_with(folder: Path, **files: bytes) -> Workspace:
    """Return a workspace whose inputs are files named `file-<name>`."""
    workspace = Workspace(folder)
    workspace.root.joinpath("inputs").mkdir()
    for name, content in files.items():
        workspace.input(f"file-{name}").write_bytes(content)
    return workspace
