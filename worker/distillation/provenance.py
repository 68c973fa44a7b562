"""Of which spec the outputs in a run's folder are: stages of two specs make no job together."""

import json

from app.contracts.job import JobSpec
from worker.distillation.checkpoint import UNNAMED
from worker.distillation.errors import BadInput
from worker.distillation.workspace import Workspace

SPEC_FILE = "outputs_of.json"
PREPARED = "prepared"


def note_spec(spec: JobSpec, workspace: Workspace) -> None:
    """Note whose the folder's outputs will be, but for what changes nothing of them.

    Raises:
        BadInput: it has some already, of a spec that differs.
    """
    path = workspace.root / SPEC_FILE
    ours = spec.model_dump(mode="json", exclude=UNNAMED)
    workspace.root.mkdir(parents=True, exist_ok=True)
    if path.is_file() and (workspace.is_finished(PREPARED) or workspace.finished()):
        theirs = json.loads(path.read_bytes())
        parts = sorted(ours.keys() | theirs.keys())
        if changed := [part for part in parts if ours.get(part) != theirs.get(part)]:
            raise BadInput(
                "folder_of_another_spec",
                f"the folder {workspace.root} has outputs of another spec; it differs in "
                f"{', '.join(changed)}",
                hint="choose another folder, or delete this one",
            )
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(ours, indent=2))
    temporary.replace(path)
