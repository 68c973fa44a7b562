"""Of which spec the outputs in a run's folder are: stages of two specs make no job together."""

import json
from pathlib import Path

from app.contracts.job import JobSpec
from worker.distillation.checkpoint import FOLDER, UNNAMED
from worker.distillation.errors import BadInput
from worker.distillation.workspace import Workspace, write_durably

SPEC_FILE = "outputs_of.json"
PREPARED = "prepared"
EXPORTED = "outputs"
OF_THE_EXPORT = {"export", "teacher_onnx"}
"""Parts of a spec that only its last stage goes by."""


def note_spec(spec: JobSpec, workspace: Workspace) -> None:
    """Note whose the folder's outputs will be, but for what changes nothing of them.

    Raises:
        BadInput: it has some already, of a spec that differs or cannot be read.
    """
    path = workspace.root / SPEC_FILE
    workspace.root.mkdir(parents=True, exist_ok=True)
    if path.is_file() and (workspace.is_finished(PREPARED) or workspace.finished()):
        # A checkpoint is of the whole spec: of another one it would be thrown away.
        is_fixed = workspace.is_finished(EXPORTED) or any(workspace.stage(FOLDER).glob("*"))
        aside = UNNAMED if is_fixed else UNNAMED | OF_THE_EXPORT
        ours, theirs = (each.model_dump(exclude=aside) for each in (spec, _noted(path)))
        if changed := sorted(part for part in ours if ours[part] != theirs[part]):
            raise _of_another(path.parent, f"it differs in {', '.join(changed)}")
    write_durably(path, json.dumps(spec.model_dump(mode="json", exclude=UNNAMED), indent=2))


def _noted(path: Path) -> JobSpec:
    """Read a spec; what has come to be since it was noted has its default in it."""
    try:
        return JobSpec.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise _of_another(path.parent, f"{SPEC_FILE} is none that this version reads") from error


def _of_another(folder: Path, why: str) -> BadInput:
    return BadInput(
        "folder_of_another_spec",
        f"the folder {folder} has outputs of another spec; {why}",
        hint="choose another folder, or delete this one",
    )
