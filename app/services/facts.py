"""What is known of a spec's parts without the data: shapes, outputs, models, knowledge, files."""

from dataclasses import dataclass
from functools import cached_property

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contracts import known_data
from app.contracts.dataset import AnyDataset, Task
from app.contracts.job import JobSpec
from app.contracts.known_data import Shape
from app.contracts.layers import Layers, layers_of
from app.contracts.model import (
    AnyArchitecture,
    KnowledgeTeacher,
    RegisteredTeacher,
    TrainedTeacher,
)
from app.contracts.references import named_files, named_models, registered_teachers
from app.contracts.registration import Signature
from app.db.models import File, Job, JobFile, Knowledge, Model
from app.services.naming import names_of_models
from app.services.ownership import owned

ARCHITECTURE: TypeAdapter[AnyArchitecture] = TypeAdapter(AnyArchitecture)
DATASET: TypeAdapter[AnyDataset] = TypeAdapter(AnyDataset)


@dataclass(frozen=True)
class RegisteredModel:
    """A model, with what its job tells of it, or who registered it."""

    architecture: AnyArchitecture
    is_exported: bool
    """Whether its weights are there to start from."""
    task: Task
    output_names: list[str]
    input_shape: Shape


@dataclass(frozen=True)
class Facts:
    """A spec and what is known about it; what the project does not have is not in here."""

    spec: JobSpec
    models: dict[str, RegisteredModel]
    files: dict[str, str]
    """Media types, by id."""
    knowledge: Knowledge | None
    model_names: list[str]
    """Some that the project has; only where the spec names a model that it does not have."""

    @property
    def task(self) -> Task:
        return self.spec.dataset.task

    @cached_property
    def input_shape(self) -> Shape:
        return known_data.input_shape(self.spec.dataset)

    @property
    def is_table(self) -> bool:
        return known_data.is_table(self.spec.dataset)

    @property
    def known_output_names(self) -> list[str] | None:
        """The names of the data's own classes, labels or targets."""
        return known_data.output_names(self.spec.dataset)

    @cached_property
    def output_names(self) -> list[str] | None:
        """The names of the outputs: the data's, or else those of what teaches."""
        known = self.known_output_names
        if known is None and self.knowledge is not None:
            return self.knowledge.output_names
        for model_id in registered_teachers(self.spec).values():
            if known is None and model_id in self.models:
                return self.models[model_id].output_names
        return known

    def layers(self, architecture: AnyArchitecture) -> Layers:
        num_outputs = None if self.output_names is None else len(self.output_names)
        return layers_of(architecture, self.input_shape, num_outputs)

    @property
    def teacher(self) -> AnyArchitecture | None:
        """The architecture of a single trained or registered teacher, where it is known."""
        teacher = self.spec.teacher
        if isinstance(teacher, TrainedTeacher):
            return teacher.architecture
        if isinstance(teacher, RegisteredTeacher) and teacher.model in self.models:
            return self.models[teacher.model].architecture
        return None


def gather(session: Session, project_id: str, spec: JobSpec) -> Facts:
    """Look up all that a spec names."""
    knowledge = None
    if isinstance(spec.teacher, KnowledgeTeacher):
        wanted = Knowledge.id == spec.teacher.knowledge
        knowledge = session.scalar(owned(Knowledge, project_id).where(wanted))
    named = set(named_models(spec).values())
    models = _models(session, project_id, named)
    return Facts(
        spec=spec,
        models=models,
        files=_files(session, project_id, named_files(spec)),
        knowledge=knowledge,
        model_names=names_of_models(session, project_id) if named - models.keys() else [],
    )


def _files(session: Session, project_id: str, ids: list[str]) -> dict[str, str]:
    if not ids:
        return {}
    rows = session.scalars(owned(File, project_id).where(File.id.in_(ids)))
    return {row.id: row.media_type for row in rows}


def _models(session: Session, project_id: str, ids: set[str]) -> dict[str, RegisteredModel]:
    if not ids:
        return {}
    models = session.scalars(owned(Model, project_id).where(Model.id.in_(ids))).all()
    made_by = {model.job_id for model in models if model.job_id is not None}
    jobs = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(made_by)))}
    stored = session.execute(
        select(JobFile.job_id, JobFile.path).where(JobFile.job_id.in_(made_by))
    )
    paths = {(job_id, path) for job_id, path in stored}
    return {
        model.id: _brought(model)
        if model.job_id is None
        else _made(
            model,
            jobs[model.job_id],
            is_exported=(model.job_id, f"{model.folder}/model.safetensors") in paths,
        )
        for model in models
        # Nothing holds them where a spec is only checked: the job may be gone by now.
        if model.job_id is None or model.job_id in jobs
    }


def _brought(model: Model) -> RegisteredModel:
    signature = Signature.model_validate(model.signature)
    return RegisteredModel(
        architecture=ARCHITECTURE.validate_python(model.architecture),
        is_exported=True,
        task=signature.task,
        output_names=signature.output_names,
        input_shape=tuple(signature.shape),
    )


def _made(model: Model, job: Job, *, is_exported: bool) -> RegisteredModel:
    dataset = DATASET.validate_python(job.resolved_spec["dataset"])
    return RegisteredModel(
        architecture=ARCHITECTURE.validate_python(model.architecture),
        is_exported=is_exported,
        task=dataset.task,
        output_names=(job.result or {})["output_names"],
        input_shape=known_data.input_shape(dataset),
    )
