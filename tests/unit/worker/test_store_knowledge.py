"""What a trainer has collected is stored as its manifest names it, and from its folder alone."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from app.contracts.job import JobSpec
from app.contracts.knowledge import Fingerprint, KnowledgeManifest, Shard
from app.storage import Storage
from tests.jobs import SPEC
from worker.knowledge import BadKnowledge, Collected, Reused, store_knowledge

CONTENT = b"rows"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "blobs"))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Give a workspace in which a trainer has collected what its teacher knows."""
    folder = tmp_path / "workspace"
    for name in ("knowledge", "teacher"):
        (folder / name).mkdir(parents=True)
    (folder / "knowledge" / "signals-00000.bin").write_bytes(CONTENT)
    (folder / "teacher" / "config.json").write_bytes(b"{}")
    (folder / "teacher" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "secret").write_bytes(CONTENT)
    write_manifest(folder)
    return folder


def write_manifest(workspace: Path, path: str = "signals-00000.bin", sha256: str = DIGEST) -> None:
    manifest = KnowledgeManifest(
        fingerprint=Fingerprint.model_validate(dict.fromkeys(Fingerprint.model_fields, "x")),
        task="classification",
        output_names=["a", "b"],
        storage="float16",
        views=1,
        num_train=1,
        num_held_out=0,
        row_bytes=4,
        shards=[Shard(path=path, first_row=0, num_rows=1, sha256=sha256)],
    )
    (workspace / "knowledge" / "knowledge.json").write_text(manifest.model_dump_json())


def spec_of(**changes: Any) -> JobSpec:  # noqa: ANN401 (a spec's fields)
    return JobSpec.model_validate(SPEC.model_dump(mode="json") | changes)


def test_what_was_collected_is_stored_with_the_digests_of_who_was_asked(
    storage: Storage, workspace: Path
) -> None:
    collected = store_knowledge(storage, SPEC, workspace)

    assert isinstance(collected, Collected)
    assert [(file.path, file.bytes) for file in collected.files][1:] == [("signals-00000.bin", 4)]
    assert collected.files[0].path == "knowledge.json"
    assert all(storage.find(file.sha256) for file in collected.files)
    teacher = collected.trained["/teacher"]
    assert teacher.config == hashlib.sha256(b"{}").hexdigest()
    assert teacher.weights == hashlib.sha256(b"weights").hexdigest()


def test_a_member_that_was_trained_has_digests_of_its_own(
    storage: Storage, workspace: Path
) -> None:
    (workspace / "teacher" / "member-1").mkdir()
    for name, content in (("config.json", b"{1}"), ("model.safetensors", b"others")):
        (workspace / "teacher" / "member-1" / name).write_bytes(content)
    members = [
        {"teacher": {"source": "model", "model": "model-1"}},
        {"teacher": {"source": "train", "architecture": {"name": "mlp"}}},
    ]
    spec = spec_of(teacher={"source": "ensemble", "mean": "logits", "members": members})

    collected = store_knowledge(storage, spec, workspace)

    assert isinstance(collected, Collected)
    assert list(collected.trained) == ["/teacher/members/1/teacher"]
    (teacher,) = collected.trained.values()
    assert teacher.weights == hashlib.sha256(b"others").hexdigest()


@pytest.mark.parametrize(
    ("path", "sha256"),
    [
        ("signals-00000.bin", "0" * 64),
        ("signals-00001.bin", DIGEST),
        ("../../secret", DIGEST),
        ("/etc/hostname", DIGEST),
        ("link", DIGEST),
        ("", DIGEST),
    ],
)
def test_anything_but_a_plain_file_of_its_digest_is_refused(
    storage: Storage, workspace: Path, path: str, sha256: str
) -> None:
    (workspace / "knowledge" / "link").symlink_to(workspace.parent / "secret")
    write_manifest(workspace, path, sha256)

    with pytest.raises(BadKnowledge):
        store_knowledge(storage, SPEC, workspace)


def test_a_manifest_that_cannot_be_read_is_refused(storage: Storage, workspace: Path) -> None:
    (workspace / "knowledge" / "knowledge.json").write_text("{")

    with pytest.raises(BadKnowledge, match="manifest"):
        store_knowledge(storage, SPEC, workspace)


def test_what_was_taken_over_is_not_stored_again(storage: Storage, workspace: Path) -> None:
    (workspace / "knowledge" / "reused").touch()

    assert isinstance(store_knowledge(storage, SPEC, workspace), Reused)
    assert storage.find(DIGEST) is None


def test_without_knowledge_or_with_that_of_a_chain_there_is_nothing_to_share(
    storage: Storage, workspace: Path, tmp_path: Path
) -> None:
    assert store_knowledge(storage, spec_of(generations=2), workspace) is None
    assert store_knowledge(storage, SPEC, tmp_path) is None
    assert storage.find(DIGEST) is None
