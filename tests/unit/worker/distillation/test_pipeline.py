"""A whole run: its messages in order, what it skips, how it resumes and how it fails."""

import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch

from app.contracts.dataset import Builtin
from app.contracts.job import Phase, Resources, TransferSet
from app.contracts.message import (
    AnyMessage,
    Failed,
    Finished,
    PhaseFinished,
    PhaseStarted,
    ProgressMade,
    StopReason,
    WentOn,
)
from tests.unit.worker.distillation.specs import Heard, spec_of
from tests.unit.worker.distillation.toys import briefly
from worker.distillation import pipeline
from worker.distillation.errors import BadInput, JobFailure, Stopped
from worker.distillation.provenance import SPEC_FILE
from worker.distillation.reporting import Reporter
from worker.distillation.stages import train_baseline, train_student
from worker.distillation.workspace import Workspace

QUICK = briefly(epochs=2, batch_size=256).model_dump()
SPEC = spec_of(
    teacher={"source": "train", "architecture": {"name": "mlp"}, "training": QUICK},
    training=QUICK,
    export=["safetensors"],
)


def finished(messages: list[AnyMessage]) -> dict[Phase, PhaseFinished]:
    return {message.phase: message for message in messages if isinstance(message, PhaseFinished)}


def test_a_run_tells_every_phase_and_ends_with_its_report(tmp_path: Path) -> None:
    heard = Heard()
    report = pipeline.run(SPEC, Workspace(tmp_path), heard.reporter)

    started = [message.phase for message in heard.messages if isinstance(message, PhaseStarted)]
    assert started == list(finished(heard.messages)) == list(Phase)
    assert heard.messages[-1] == Finished(report=report)
    summaries = {phase: message.summary for phase, message in finished(heard.messages).items()}
    assert summaries[Phase.PREPARING] == (
        "data: 1257 train, 180 validation, 360 test examples of 10 classes"
    )
    assert report.teacher is not None
    assert report.teacher.validation is not None
    accuracy = 100 * (report.teacher.validation.accuracy or 0)
    assert summaries[Phase.TRAINING_TEACHER] == (
        f"teacher: {accuracy:.1f} % on validation after 2 epochs"
    )
    assert summaries[Phase.TRAINING_ASSISTANTS] == ""
    assert summaries[Phase.COLLECTING_KNOWLEDGE] == (
        "knowledge: 1 view of 1257 examples and 540 held out, 35,940 bytes, collected"
    )
    assert summaries[Phase.EVALUATING].startswith("accuracy on test: teacher ")
    assert "files" in summaries[Phase.EXPORTING]
    assert (tmp_path / "outputs" / "manifest.json").is_file()


def test_phases_without_work_are_skipped(tmp_path: Path) -> None:
    heard = Heard()
    spec = SPEC.model_copy(
        update={"baseline": False, "objective": spec_of(objective=[{"loss": "labels"}]).objective}
    )
    report = pipeline.run(spec, Workspace(tmp_path), heard.reporter)

    skipped = {phase for phase, message in finished(heard.messages).items() if message.skipped}
    assert skipped == {
        Phase.TRAINING_ASSISTANTS,
        Phase.COLLECTING_KNOWLEDGE,
        Phase.TRAINING_BASELINE,
    }
    assert report.baseline is None


def test_a_stopped_run_takes_up_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise Stopped

    workspace = Workspace(tmp_path)
    stages = [
        (phase, name, stopped if stage is train_student.run else stage)
        for phase, name, stage in pipeline.STAGES
    ]
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "STAGES", stages)
        with pytest.raises(Stopped):
            pipeline.run(SPEC, workspace, Heard().reporter)
    teacher = (tmp_path / "teacher" / "model.safetensors").stat()

    heard = Heard()
    resumed = pipeline.run(SPEC, workspace, heard.reporter)
    whole = pipeline.run(SPEC, Workspace(tmp_path / "other"), Heard().reporter)

    assert (tmp_path / "teacher" / "model.safetensors").stat() == teacher
    skipped = {phase for phase, message in finished(heard.messages).items() if message.skipped}
    assert skipped == {Phase.TRAINING_ASSISTANTS}
    restored = {phase for phase, message in finished(heard.messages).items() if message.restored}
    assert restored == {
        Phase.PREPARING,
        Phase.TRAINING_TEACHER,
        Phase.COLLECTING_KNOWLEDGE,
        Phase.TRAINING_BASELINE,
    }
    assert resumed.student.test == whole.student.test
    student = Path("student", "model.safetensors")
    assert (tmp_path / student).read_bytes() == (tmp_path / "other" / student).read_bytes()


def test_a_folder_of_another_spec_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    pipeline.run(SPEC, Workspace(tmp_path), Heard().reporter)
    report = (tmp_path / "outputs" / "report.json").read_bytes()
    shutil.rmtree(tmp_path / "student")
    other = SPEC.model_copy(
        update={"dataset": Builtin(source="builtin", name="wine"), "baseline": False}
    )

    for _ in range(2):
        heard = Heard()
        with pytest.raises(BadInput, match="differs in baseline, dataset") as caught:
            pipeline.run(other, Workspace(tmp_path), heard.reporter)

        assert caught.value.code == "folder_of_another_spec"
        assert "another folder" in (caught.value.hint or "")
        assert [type(message) for message in heard.messages] == [Failed]
    assert (tmp_path / "outputs" / "report.json").read_bytes() == report
    assert not (tmp_path / "student").exists()


def test_what_changes_nothing_of_the_models_may_be_another(tmp_path: Path) -> None:
    pipeline.run(SPEC, Workspace(tmp_path), Heard().reporter)
    named = SPEC.model_copy(
        update={"name": "other", "priority": 3, "resources": Resources(checkpoint_every_seconds=9)}
    )
    heard = Heard()

    pipeline.run(named, Workspace(tmp_path), heard.reporter)

    assert finished(heard.messages)[Phase.TRAINING_STUDENT].restored


def test_what_only_the_export_goes_by_may_be_another_until_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(*_: object) -> None:
        raise JobFailure("no_runtime", "there is none")

    more = SPEC.model_copy(update={"export": ["safetensors", "onnx"], "teacher_onnx": True})
    with monkeypatch.context() as patched:
        last = (*pipeline.STAGES[-1][:2], failed)
        patched.setattr(pipeline, "STAGES", [*pipeline.STAGES[:-1], last])
        with pytest.raises(JobFailure, match="there is none"):
            pipeline.run(more, Workspace(tmp_path), Heard().reporter)
    heard = Heard()

    pipeline.run(SPEC, Workspace(tmp_path), heard.reporter)

    assert finished(heard.messages)[Phase.TRAINING_STUDENT].restored
    with pytest.raises(BadInput, match="differs in export, teacher_onnx"):
        pipeline.run(more, Workspace(tmp_path), Heard().reporter)


def test_a_change_of_the_export_alone_throws_no_half_made_training_away(tmp_path: Path) -> None:
    heard = Heard()
    looks = itertools.count()

    def listen() -> StopReason | None:
        begun = PhaseStarted(phase=Phase.TRAINING_STUDENT) in heard.messages
        return StopReason.DRAIN if begun and next(looks) == 3 else None

    with pytest.raises(Stopped):
        pipeline.run(SPEC, Workspace(tmp_path), Reporter(heard.messages.append, listen))
    more = SPEC.model_copy(update={"export": ["safetensors", "onnx"]})

    with pytest.raises(BadInput, match="differs in export"):
        pipeline.run(more, Workspace(tmp_path), Heard().reporter)

    again = Heard()
    pipeline.run(SPEC, Workspace(tmp_path), again.reporter)
    assert [message.role for message in again.messages if isinstance(message, WentOn)] == [
        "student"
    ]


def test_a_part_that_came_to_be_since_is_as_it_is_by_default(tmp_path: Path) -> None:
    pipeline.run(SPEC, Workspace(tmp_path), Heard().reporter)
    noted = tmp_path / SPEC_FILE
    earlier = json.loads(noted.read_text())
    del earlier["generations"]
    noted.write_text(json.dumps(earlier))
    heard = Heard()

    pipeline.run(SPEC, Workspace(tmp_path), heard.reporter)

    assert finished(heard.messages)[Phase.TRAINING_STUDENT].restored
    noted.write_text(json.dumps(earlier | {"curriculum": 3}))
    with pytest.raises(BadInput, match="none that this version reads") as caught:
        pipeline.run(SPEC, Workspace(tmp_path), Heard().reporter)
    assert caught.value.code == "folder_of_another_spec"


def test_a_spec_that_came_to_nothing_may_be_mended_in_its_folder(tmp_path: Path) -> None:
    transfer = TransferSet(omit_classes=["three"])
    with pytest.raises(BadInput, match='names "three"'):
        pipeline.run(
            SPEC.model_copy(update={"transfer": transfer}), Workspace(tmp_path), Heard().reporter
        )

    pipeline.run(SPEC, Workspace(tmp_path), Heard().reporter)


def test_what_was_said_of_the_data_is_in_the_report_of_a_run_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise Stopped

    spec = SPEC.model_copy(update={"dataset": Builtin(source="builtin", name="wine")})
    prepared_alone = [*pipeline.STAGES[:1], (*pipeline.STAGES[1][:2], stopped)]
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "STAGES", prepared_alone)
        first = Heard()
        with pytest.raises(Stopped):
            pipeline.run(spec, Workspace(tmp_path), first.reporter)

    report = pipeline.run(spec, Workspace(tmp_path), Heard().reporter)

    said = first.reporter.warnings
    assert any("test part has only" in warning for warning in said)
    assert report.warnings[: len(said)] == said


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (BadInput("some_code", "what is wrong", hint="what to do"), "some_code"),
        (torch.OutOfMemoryError("tried to allocate 3 GiB"), "out_of_gpu_memory"),
    ],
)
def test_a_failure_is_told_with_its_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, code: str
) -> None:
    def failing(*_: object) -> None:
        raise raised

    stages = [
        (phase, name, failing if stage is train_baseline.run else stage)
        for phase, name, stage in pipeline.STAGES
    ]
    monkeypatch.setattr(pipeline, "STAGES", stages)
    heard = Heard()
    with pytest.raises(JobFailure):
        pipeline.run(SPEC, Workspace(tmp_path), heard.reporter)

    told = heard.messages[-1]
    assert isinstance(told, Failed)
    assert (told.error.code, told.error.phase) == (code, Phase.TRAINING_BASELINE)
    assert told.error.hint
    assert not told.error.retryable
    assert str(raised) in told.error.message


def test_progress_counts_up_to_the_phases_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.distillation.reporting.PROGRESS_EVERY_SECONDS", 0)
    heard = Heard()
    pipeline.run(SPEC, Workspace(tmp_path), heard.reporter)

    told = [message.progress for message in heard.messages if isinstance(message, ProgressMade)]
    student = [one for one in told if one.phase == Phase.TRAINING_STUDENT]
    assert [(one.epoch, one.epochs, one.step, one.steps) for one in student] == [
        (1 + step // 5, 2, step, 10) for step in range(10)
    ]
    assert any(one.phase == Phase.COLLECTING_KNOWLEDGE for one in told)
