"""Run the teacher once over all that the student will see, and keep its signals; into `knowledge`.

What was collected before, for the same teacher and data, is taken over and the teacher not run.
"""

import hashlib
from pathlib import Path

import torch

from app.contracts.job import JobSpec, Phase
from app.contracts.knowledge import Fingerprint, KnowledgeManifest
from app.contracts.model import KnowledgeTeacher, MutualTeacher, SignalsTeacher
from worker.distillation.checkpoint import Checkpoints, Mark
from worker.distillation.collection import Collection
from worker.distillation.dataset import Dataset
from worker.distillation.device import choose_device
from worker.distillation.errors import BadInput
from worker.distillation.few_classes import tell_of_few
from worker.distillation.knowledge import (
    TeacherIdentity,
    collect,
    differences,
    planned,
    take_over,
    write_signals,
)
from worker.distillation.knowledge_store import StoredKnowledge
from worker.distillation.objective import needs
from worker.distillation.reporting import Reporter
from worker.distillation.schemes import Lesson, links, planned_lesson
from worker.distillation.teachers import last_teacher_folder
from worker.distillation.workspace import Workspace

OFFERED = "knowledge"
"""The input folder in which a run finds knowledge that may be what it would collect."""
START = Mark(Phase.COLLECTING_KNOWLEDGE, "knowledge", 0)
EVERY_PART = tuple(part for part in Fingerprint.model_fields if part != "collected")
OF_THE_DATA = ("dataset", "views")
"""What knowledge that stands in a teacher's place has to agree in: nobody knows its teacher."""


def run(spec: JobSpec, workspace: Workspace, reporter: Reporter) -> None:
    """Leave knowledge.json and its shards, or nothing where the student needs none.

    Nothing, too, where the record would be larger than the spec allows: the teacher then runs
    along with the student.

    Raises:
        BadInput: knowledge that the spec names is not of this data and these views; or signals
            are damaged, not finite, or incomplete.
    """
    if isinstance(spec.teacher, MutualTeacher):
        return
    dataset, device = Dataset.load(workspace.stage("prepared")), choose_device(spec.resources)
    if isinstance(spec.teacher, KnowledgeTeacher):
        manifest = _adopt(spec, spec.teacher, workspace, dataset)
        tell_of_few(manifest, spec.objective, reporter, brought=True)
    elif isinstance(spec.teacher, SignalsTeacher):
        manifest = _import(spec, spec.teacher, workspace, dataset, device)
        tell_of_few(manifest, spec.objective, reporter)
    elif needs(spec.objective).teacher:
        _collect(spec, workspace, dataset, device, reporter)


def _adopt(
    spec: JobSpec, teacher: KnowledgeTeacher, workspace: Workspace, dataset: Dataset
) -> KnowledgeManifest:
    source = workspace.input(teacher.knowledge)
    given = StoredKnowledge.open(source).manifest
    expected = _expected(spec, dataset)
    if found := differences(given, expected, OF_THE_DATA):
        raise BadInput(
            "knowledge_does_not_match",
            f"knowledge {teacher.knowledge!r} does not fit this job in {'; in '.join(found)}",
            hint="use the dataset, split, augmentation, seed and epochs it was collected for",
        )
    dense = [loss.loss for loss in spec.objective if loss.needs_dense_logits]
    if given.storage == "top_k" and dense:
        raise BadInput(
            "storage_does_not_fit_loss",
            f"knowledge {teacher.knowledge!r} is kept by top_k, and {dense[0]!r} looks at each "
            "class; top_k keeps the most probable ones, rounded and without the level of their "
            "logits",
            hint="use soft_targets, or knowledge collected in float16 or float32",
        )
    with workspace.writing("knowledge") as folder:
        take_over(source, folder)
    return given


def _import(
    spec: JobSpec,
    teacher: SignalsTeacher,
    workspace: Workspace,
    dataset: Dataset,
    device: torch.device,
) -> KnowledgeManifest:
    # Only now: few jobs need what reads Parquet, and a trainer begins sooner without it.
    from worker.distillation.uploaded_signals import read_signals  # noqa: PLC0415

    ids_N, logits_NC = read_signals(workspace.input(teacher.file), dataset, teacher.values)
    manifest = _expected(spec, dataset, _sha256(workspace.input(teacher.file)))
    if len(ids_N) < manifest.num_train + manifest.num_held_out:
        manifest = manifest.model_copy(update={"num_held_out": 0})
    collection = Collection(manifest, spec.training, dataset, device)
    with workspace.writing("knowledge") as folder:
        return write_signals(collection, ids_N, torch.from_numpy(logits_NC), folder)


def _collect(
    spec: JobSpec, workspace: Workspace, dataset: Dataset, device: torch.device, reporter: Reporter
) -> None:
    teacher = last_teacher_folder(spec, workspace)
    assert teacher is not None  # noqa: S101 (every other source has returned before)
    lesson = Lesson("student", spec.objective, spec.training, teacher, spec.student.architecture)
    _, live, collection = planned_lesson(lesson, spec, dataset, device)
    manifest = collection.manifest
    reporter.metrics(0, {"knowledge/bytes": float(manifest.bytes)})
    if _take_over_equal(manifest, spec, workspace, reporter):
        tell_of_few(manifest, spec.objective, reporter)
        return
    if manifest.bytes > spec.knowledge.max_bytes:
        reporter.warn(
            f"the teacher's signals would take {manifest.bytes:,} bytes, more than "
            f"knowledge.max_bytes, {spec.knowledge.max_bytes:,}; they are not kept, and the "
            "teacher runs along with the student"
        )
        return
    tell_of_few(manifest, spec.objective, reporter)
    with workspace.writing("knowledge", resuming=True) as folder:
        checkpoints = Checkpoints(spec, workspace, reporter)
        collect(collection, live, folder, reporter, checkpoints, START)


def _take_over_equal(
    expected: KnowledgeManifest, spec: JobSpec, workspace: Workspace, reporter: Reporter
) -> bool:
    """Take over knowledge of the same fingerprint, if the run was given some; say if it was not."""
    source = workspace.input(OFFERED)
    if links(spec) or not source.is_dir():
        return False
    try:
        given = StoredKnowledge.open(source).manifest
    except BadInput as error:
        # Nobody asked for it by name: the teacher can be asked again.
        reporter.warn(f"knowledge collected earlier is not used: {error}")
        return False
    if found := differences(given, expected, EVERY_PART):
        reporter.warn(
            f"knowledge collected earlier is not used: it differs in {'; in '.join(found)}"
        )
        return False
    with workspace.writing("knowledge") as folder:
        take_over(source, folder)
    return True


def _expected(spec: JobSpec, dataset: Dataset, teacher: str = "") -> KnowledgeManifest:
    """Return the manifest of answers for the student's views, of whatever teacher."""
    identity = TeacherIdentity(teacher, "", "")
    return planned(spec.knowledge, spec.training, spec.objective, dataset, identity, layers={})


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
