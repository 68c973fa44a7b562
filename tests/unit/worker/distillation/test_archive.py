"""Hostile and damaged archives are refused within limits, whatever their kind."""

import contextlib
import gzip
import io
import random
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.unit.worker.distillation.data.archives import PACKERS, write_tar, write_tar_gz, write_zip
from worker.distillation.archive import members
from worker.distillation.errors import BadInput

TWO = {"a/1": b"one", "b/2": b"two" * 1000}


def contents(path: Path) -> dict[str, bytes]:
    return {member.name: member.read(10_000) for member in members(path)}


def refusal(path: Path) -> BadInput:
    with pytest.raises(BadInput) as caught:
        contents(path)
    return caught.value


@pytest.mark.parametrize("pack", PACKERS)
def test_members_are_streamed_in_order(pack: str, tmp_path: Path) -> None:
    assert list(contents(PACKERS[pack](tmp_path / "file", TWO)).items()) == list(TWO.items())


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a\n/x", "a\u202e/x", "a" * 1001])
def test_no_name_that_would_be_odd_as_a_path_is_taken(pack: str, name: str, tmp_path: Path) -> None:
    assert refusal(PACKERS[pack](tmp_path / "file", {name: b"x"})).code == "bad_member_name"


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        archive.addfile(tarfile.TarInfo("caf\xe9/1"))

    assert refusal(path).code == "bad_member_name"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    entry = tarfile.TarInfo("a/link")
    entry.type, entry.linkname = kind, "/etc/passwd"
    with tarfile.open(path, "w") as archive:
        archive.addfile(entry)

    assert refusal(path).code == "not_a_regular_file"


@pytest.mark.parametrize(
    ("name", "shown"),
    [("caf\udce9.png", "caf\\udce9.png"), ("a\n.png", "a\\n.png"), ("a" * 5000, "a" * 100)],
    ids=["not UTF-8", "a line's end", "very long"],
)
def test_a_refusal_shows_any_name_as_text(name: str, shown: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, "1.png"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        archive.addfile(entry)
    error = refusal(path)

    assert error.code == "not_a_regular_file"
    assert str(error).startswith(f'"{shown}" is a link')


def test_a_refusal_of_a_packing_shows_any_name_as_text(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "file", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a\n/\u202e1", b"x")

    assert str(refusal(tmp_path / "file")).startswith(r'"a\n/\u202e1" is packed')


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("a/link")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "file", "w") as archive:
        archive.writestr(entry, "/etc/passwd")

    assert refusal(tmp_path / "file").code == "not_a_regular_file"


def test_a_password_or_a_rare_packing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a/1", b"x")
    assert refusal(path).code == "unknown_compression"

    write_zip(path, {"a/1": b"x"})
    packed = bytearray(path.read_bytes())
    packed[packed.index(b"PK\1\2") + 8] |= 1  # the flag of encryption
    path.write_bytes(packed)
    assert refusal(path).code == "encrypted"


@pytest.mark.parametrize("pack", ["zip", "tar.gz"])
def test_an_archive_that_floods_is_stopped(
    pack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.members.HARMLESS_BYTES", 100_000)
    path = PACKERS[pack](tmp_path / "file", {"a/1": bytes(2_000_000)})

    with pytest.raises(BadInput) as caught:
        list(members(path))
    assert caught.value.code == "unpacks_too_large"


@pytest.mark.parametrize("pack", PACKERS)
def test_too_many_members_are_refused(
    pack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.members.MAX_MEMBERS", 1)

    assert refusal(PACKERS[pack](tmp_path / "file", TWO)).code == "too_many_members"


@pytest.mark.parametrize("pack", PACKERS)
def test_a_member_larger_than_its_reader_allows_is_refused(pack: str, tmp_path: Path) -> None:
    path = PACKERS[pack](tmp_path / "file", {"a/1": bytes(10_001)})

    assert '"a/1"' in str(refusal(path))
    assert refusal(path).code == "too_large"


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_an_archive_cut_off_anywhere_is_refused(pack: str, share: float, tmp_path: Path) -> None:
    path = PACKERS[pack](tmp_path / "file", TWO)
    whole = path.read_bytes().rstrip(b"\0")
    path.write_bytes(whole[: int(share * len(whole))])

    assert refusal(path).code in ("broken_archive", "broken_file")


def test_a_tar_with_a_damaged_header_does_not_end_there(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "file", TWO)
    damaged = path.read_bytes().replace(b"b/2", b"b/3")  # its checksum is wrong now
    path.write_bytes(damaged)

    assert refusal(path).code == "broken_archive"


def test_a_damaged_member_of_a_zip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1", b"one")
    path.write_bytes(path.read_bytes().replace(b"one", b"0ne"))

    error = refusal(path)

    assert error.code == "broken_file"
    assert '"a/1"' in str(error)


@pytest.mark.parametrize("pack", PACKERS)
def test_a_name_that_is_there_twice_is_refused(pack: str, tmp_path: Path) -> None:
    twice = io.BytesIO()
    with tarfile.open(fileobj=twice, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a/1"))
        archive.addfile(tarfile.TarInfo("a/1"))
    path = tmp_path / "file"
    path.write_bytes(twice.getvalue() if pack == "tar" else gzip.compress(twice.getvalue()))
    if pack == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/1", b"")
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr("a/1", b"")

    assert refusal(path).code == "duplicate_member"


@pytest.mark.parametrize("content", [b"", b"PK", b"Rar!\x1a\x07", b"a,b\n1,2\n", bytes(2000)])
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)

    assert refusal(tmp_path / "file").code == "not_an_archive"


def test_a_gzip_that_is_no_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(gzip.compress(b"hello"))

    assert refusal(tmp_path / "file").code == "broken_archive"


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize("seed", range(100))
def test_whatever_bytes_are_changed_it_is_read_or_refused(
    pack: str, seed: int, tmp_path: Path
) -> None:
    path = PACKERS[pack](tmp_path / "file", TWO)
    content = bytearray(path.read_bytes())
    chance = random.Random(seed)  # noqa: S311 (no secret)
    for _ in range(chance.randint(1, 5)):
        content[chance.randrange(len(content))] = chance.randrange(256)
    path.write_bytes(content)

    with contextlib.suppress(BadInput):
        contents(path)


def test_a_zip_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "file", TWO)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 6] = 200  # the version it takes to unpack it
    path.write_bytes(content)

    assert refusal(path).code == "broken_archive"


def test_an_empty_archive_has_no_members(tmp_path: Path) -> None:
    assert contents(write_zip(tmp_path / "zip", {})) == {}
    assert contents(write_tar_gz(tmp_path / "tar", {})) == {}
