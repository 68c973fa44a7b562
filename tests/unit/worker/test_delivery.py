"""A trainer's outputs are taken only as its manifest names them, and only from its own folder."""

import hashlib
from pathlib import Path

import pytest

from app.contracts.message import Manifest, OutputFile
from app.storage import Storage
from worker.delivery import BadDelivery, store_outputs

CONTENT = b'{"a": 1}'
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "blobs"))


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs"
    (folder / "student").mkdir(parents=True)
    (folder / "student" / "config.json").write_bytes(CONTENT)
    (tmp_path / "secret").write_bytes(CONTENT)
    return folder


def deliver(storage: Storage, outputs: Path, path: str, size: int, digest: str) -> None:
    manifest = Manifest(files=[OutputFile(path=path, bytes=size, sha256=digest)])
    (outputs / "manifest.json").write_text(manifest.model_dump_json())
    (file,) = store_outputs(storage, outputs)
    assert (file.path, file.bytes, file.sha256) == (path, size, digest)


def test_a_file_that_is_as_named_is_stored(storage: Storage, outputs: Path) -> None:
    deliver(storage, outputs, "student/config.json", len(CONTENT), DIGEST)

    assert b"".join(storage.read(DIGEST, 0, len(CONTENT))) == CONTENT


def test_files_may_be_kept_below_a_folder(storage: Storage, outputs: Path) -> None:
    deliver(storage, outputs, "student/config.json", len(CONTENT), DIGEST)

    (file,) = store_outputs(storage, outputs, "last_good/")

    assert file.path == "last_good/student/config.json"


@pytest.mark.parametrize(
    ("path", "size", "digest"),
    [
        ("student/config.json", len(CONTENT), "0" * 64),
        ("student/config.json", len(CONTENT) + 1, DIGEST),
        ("student/missing.json", len(CONTENT), DIGEST),
        ("student", 0, DIGEST),
        ("../secret", len(CONTENT), DIGEST),
        ("student/../../secret", len(CONTENT), DIGEST),
        ("/etc/hostname", len(CONTENT), DIGEST),
    ],
)
def test_anything_else_is_refused(
    storage: Storage, outputs: Path, path: str, size: int, digest: str
) -> None:
    with pytest.raises(BadDelivery):
        deliver(storage, outputs, path, size, digest)


def test_a_link_out_of_the_folder_is_refused(storage: Storage, outputs: Path) -> None:
    (outputs / "link").symlink_to(outputs.parent / "secret")
    with pytest.raises(BadDelivery):
        deliver(storage, outputs, "link", len(CONTENT), DIGEST)


def test_no_manifest_is_no_delivery(storage: Storage, outputs: Path) -> None:
    with pytest.raises(BadDelivery, match="manifest"):
        store_outputs(storage, outputs)
