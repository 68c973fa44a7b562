"""One sentence for people on what each stage left."""

from pathlib import Path

from app.contracts.job import Phase
from app.contracts.message import Manifest
from app.contracts.report import Report
from app.contracts.report_figures import QUALITIES, roles, shown_quality
from worker.distillation.dataset import PARTS, Dataset
from worker.distillation.history import History
from worker.distillation.knowledge import is_reused
from worker.distillation.knowledge_store import read_manifest
from worker.distillation.teachers import member_folders
from worker.distillation.workspace import Workspace

TRAININGS = {
    Phase.TRAINING_TEACHER: "teacher",
    Phase.TRAINING_BASELINE: "baseline",
    Phase.TRAINING_STUDENT: "student",
}
_OUTPUTS = {"classification": "classes", "multi_label": "labels", "regression": "targets"}


def summary(phase: Phase, workspace: Workspace) -> str:
    """Read a finished stage's output and say what came out."""
    if phase in TRAININGS:
        role = TRAININGS[phase]
        folders = member_folders(workspace.stage(role))
        return "; ".join(_of_training(_named(role, each), History.load(each)) for each in folders)
    return {
        Phase.PREPARING: _of_data,
        Phase.TRAINING_ASSISTANTS: _of_assistants,
        Phase.COLLECTING_KNOWLEDGE: _of_knowledge,
        Phase.EVALUATING: _of_report,
        Phase.EXPORTING: _of_outputs,
    }[phase](workspace)


def read_report(workspace: Workspace) -> Report:
    """Return the result without its details: as exported, or as it is until then."""
    stage = "outputs" if workspace.is_finished("outputs") else "evaluation"
    return Report.model_validate_json((workspace.stage(stage) / "report.json").read_text())


def _of_training(role: str, history: History) -> str:
    kept = history.kept
    if kept is None:
        return f"{role}: a registered model"
    epochs = f"{len(history.epochs)} epochs" if len(history.epochs) > 1 else "1 epoch"
    if not kept.validation:
        return f"{role}: training loss {kept.loss:.4g} after {epochs}"
    return f"{role}: {_of_validation(kept.validation)} on validation after {epochs}"


def _of_validation(figures: dict[str, float]) -> str:
    if "macro_f1" in figures:
        return f"macro F1 {figures['macro_f1']:.3f}"
    if "accuracy" in figures:
        return f"{figures['accuracy'] * 100:.1f} %"
    return f"error {figures['rmse']:.3f} sd"


def _named(role: str, folder: Path) -> str:
    return role if folder.name == role else f"{role} {folder.name}"


def _of_assistants(workspace: Workspace) -> str:
    folders = sorted(workspace.stage("assistants").iterdir(), key=lambda path: int(path.name))
    return "; ".join(
        _of_training(f"assistant {number}", History.load(folder))
        for number, folder in enumerate(folders, start=1)
    )


def _of_data(workspace: Workspace) -> str:
    dataset = Dataset.load(workspace.stage("prepared"))
    parts = ", ".join(f"{len(dataset.ids[part])} {part}" for part in PARTS)
    return f"data: {parts} examples of {dataset.num_outputs} {_OUTPUTS[dataset.description.task]}"


def _of_knowledge(workspace: Workspace) -> str:
    folder = workspace.stage("knowledge")
    manifest = read_manifest(folder)
    views = f"{manifest.views} views" if manifest.views > 1 else "1 view"
    how = "collected earlier, the teacher was not run" if is_reused(folder) else "collected"
    return (
        f"knowledge: {views} of {manifest.num_train} examples and {manifest.num_held_out} held "
        f"out, {manifest.bytes:,} bytes, {how}"
    )


def _of_report(workspace: Workspace) -> str:
    report = read_report(workspace)
    qualities = ", ".join(
        f"{role} {shown_quality(report, model.test.quality)}"
        for role, model in roles(report).items()
    )
    return f"{QUALITIES[report.compared_by]} on test: {qualities}"


def _of_outputs(workspace: Workspace) -> str:
    path = workspace.stage("outputs") / "manifest.json"
    files = Manifest.model_validate_json(path.read_text()).files
    return f"export: {len(files)} files, {sum(file.bytes for file in files):,} bytes"
