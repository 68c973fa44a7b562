"""Whether what teaches is there, fits the data, and goes with the rest of the scheme."""

from collections.abc import Iterator

from app.contracts.knowledge import PLAIN_VIEWS, KnowledgeSettings, views_of
from app.contracts.model import (
    Ensemble,
    KnowledgeTeacher,
    ModelInitialization,
    MutualTeacher,
    SignalsTeacher,
)
from app.contracts.naming import unknown_model
from app.contracts.references import named_models
from app.db.models import Knowledge
from app.errors import Problem
from app.services.content import PARQUET
from app.services.facts import Facts, RegisteredModel
from app.services.scheme import NEEDS_IMAGES

PART_OF_VIEWS = "a recorded answer belongs to the very view of an example that the teacher saw"
MOST_SHOWN = 120
"""Characters of what was given."""


def check_teachers(facts: Facts) -> Iterator[Problem]:
    yield from _models(facts)
    teacher = facts.spec.teacher
    match teacher:
        case Ensemble(mean="probabilities") if facts.task == "regression":
            message = (
                "given 'probabilities' for regression, whose predictions are none; expected "
                "'logits', which here is the mean of the predictions"
            )
            yield Problem("/teacher/mean", "mean_does_not_fit_task", message)
        case SignalsTeacher():
            yield from _signals(facts, teacher)
        case KnowledgeTeacher():
            yield from _knowledge(facts, teacher)
        case MutualTeacher():
            yield from _peer(facts)
    if isinstance(teacher, SignalsTeacher | KnowledgeTeacher):
        reason = f"{teacher.source} are answers, and nobody there to run"
        yield from _chain(facts, f"assistants and generations learn from a model; {reason}")


def _models(facts: Facts) -> Iterator[Problem]:
    for pointer, model_id in named_models(facts.spec).items():
        model = facts.models.get(model_id)
        if model is None:
            message = unknown_model(model_id, facts.model_names)
            yield Problem(pointer, "unknown_model", message)
        elif not model.is_exported:
            message = (
                f"given {model_id!r}, which was not exported as safetensors; expected one that was"
            )
            yield Problem(pointer, "not_exported", message)
        else:
            yield from _fit(pointer, model, facts)
    start = facts.spec.student.initialize
    if isinstance(start, ModelInitialization) and start.model in facts.models:
        given, wanted = facts.models[start.model].architecture, facts.spec.student.architecture
        if given != wanted:
            message = (
                f"given a model of {given.model_dump(mode='json')}; the student's is "
                f"{wanted.model_dump(mode='json')}"
            )
            yield Problem("/student/initialize/model", "other_architecture", message)


def _fit(pointer: str, model: RegisteredModel, facts: Facts) -> Iterator[Problem]:
    """Tell the first thing in which a model differs from the data, as far as both are known."""
    if facts.is_table and model.architecture.name in NEEDS_IMAGES:
        message = f"given a {model.architecture.name!r}, which needs images, not a table"
        yield Problem(pointer, "needs_images", message)
        return
    given: dict[str, tuple[object, object]] = {
        "task": (model.task, facts.task),
        "input shape": (model.input_shape, facts.input_shape),
        "output names": (model.output_names, facts.known_output_names),
    }
    for what, (has, expected) in given.items():
        if not _may_be_equal(has, expected):
            message = (
                f"the {what} differs: the model has {_shown(has)}, the data {_shown(expected)}"
            )
            yield Problem(pointer, "model_does_not_fit", message)
            return


def _may_be_equal(one: object, other: object) -> bool:
    """Say whether two things may be the same, where None stands for what is not known."""
    if one is None or other is None:
        return True
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_may_be_equal, one, other))
    return one == other


def _signals(facts: Facts, teacher: SignalsTeacher) -> Iterator[Problem]:
    media_type = facts.files.get(teacher.file)
    if media_type is None:
        message = f"given {teacher.file!r}; expected the id of a file that this project has"
        yield Problem("/teacher/file", "unknown_file", message)
    elif media_type != PARQUET:
        message = f"given a file that is {media_type}; signals are {PARQUET}"
        yield Problem("/teacher/file", "wrong_kind_of_file", message)
    if (teacher.values == "predictions") != (facts.task == "regression"):
        expected = "'predictions'" if facts.task == "regression" else "'logits' or 'probabilities'"
        message = f"given {teacher.values!r} for {facts.task}; expected {expected}"
        yield Problem("/teacher/values", "values_do_not_fit_task", message)
    if facts.spec.training.augmentation:
        message = f"given augmentations beside uploaded signals; expected none, for {PART_OF_VIEWS}"
        yield Problem("/training/augmentation", "answers_of_other_views", message)


def _knowledge(facts: Facts, teacher: KnowledgeTeacher) -> Iterator[Problem]:
    if facts.knowledge is None:
        message = f"given {teacher.knowledge!r}; expected the id of knowledge that this project has"
        yield Problem("/teacher/knowledge", "unknown_knowledge", message)
        return
    differences = "; ".join(_differences(facts, facts.knowledge))
    if differences:
        message = f"given {teacher.knowledge!r}, which does not fit this job in {differences}"
        yield Problem("/teacher/knowledge", "knowledge_does_not_match", message)


def _differences(facts: Facts, knowledge: Knowledge) -> Iterator[str]:
    """Say which parts of a fingerprint cannot match, of those that are known without the data."""
    if knowledge.task != facts.task:
        yield f"task: given {knowledge.task}, expected {facts.task}"
    names = facts.known_output_names
    if names is not None and knowledge.output_names != names:
        yield f"output names: given {_shown(knowledge.output_names)}, expected {_shown(names)}"
    training = facts.spec.training
    given, expected = knowledge.fingerprint["views"], views_of(training)
    if given != expected:
        because = f", for {PART_OF_VIEWS}" if PLAIN_VIEWS in {given, expected} else ""
        yield f"views: given {given}, expected {expected}{because}"
    elif training.augmentation and knowledge.views < training.epochs:
        yield f"views: given {knowledge.views}, expected one an epoch, {training.epochs}"


def _peer(facts: Facts) -> Iterator[Problem]:
    spec = facts.spec
    yield from _chain(facts, "a peer learns beside one student, and teaches no other")
    if spec.knowledge != KnowledgeSettings():
        message = "a peer changes at every step, so none of its answers can be kept; leave this out"
        yield Problem("/knowledge", "peer_keeps_no_knowledge", message)
    if spec.training.micro_batch_size is not None:
        message = (
            f"given {spec.training.micro_batch_size} beside a peer: in each step both answer to "
            "the whole batch before either learns from it; expected none"
        )
        yield Problem("/training/micro_batch_size", "micro_batches_with_peer", message)
    if spec.transfer.repair:
        message = "a peer has not seen the omitted classes either; expected a teacher that has"
        yield Problem("/transfer/repair", "nothing_to_repair", message)


def _chain(facts: Facts, reason: str) -> Iterator[Problem]:
    if facts.spec.assistants:
        message = f"given {len(facts.spec.assistants)}, expected none: {reason}"
        yield Problem("/assistants", "no_model_to_learn_from", message)
    if facts.spec.generations > 1:
        message = f"given {facts.spec.generations}, expected 1: {reason}"
        yield Problem("/generations", "no_model_to_learn_from", message)


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
