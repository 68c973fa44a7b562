"""Archives of images that no job may read: made from what can be wrong with one."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from tests.unit.worker.distillation.data.archives import idx, image

Cases = Iterator[tuple[str, bytes]]

PNG = image()
GOOD = {"cat/1.png": PNG, "cat/2.png": image(9), "dog/1.png": image(5), "dog/2.png": image(7)}
NAMES = [
    *("../cat/1.png", "cat/../../1.png", "../../../../etc/passwd.png", "/cat/1.png", "//cat/1.png"),
    *("cat/..", "./../1.png", "cat/\n/1.png", "cat/\x7f/1.png", "cat/\u202egnp.1/1.png"),
    *("cat/\u2028/1.png", f"cat/{'x' * 1001}.png", f"{'a/' * 600}1.png", "cat/\x1b[2J.png"),
]
NO_IMAGES = {
    "an empty file": b"",
    "a program": b"\x7fELF\x02\x01\x01" + bytes(100),
    "a page": b"<html><script>alert(1)</script></html>",
    "a drawing": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "a script": b"#!/bin/sh\nrm -rf /\n",
    "a pickle": b"\x80\x04\x95cos\nsystem\n(S'id'\ntR.",
    "PostScript": b"%!PS-Adobe-3.0\n",
    "a TIFF": b"II*\0" + bytes(100),
    "a zip": b"PK\x03\x04" + bytes(100),
}
NESTED = ("zip", "tar.gz", "7z", "exe", "pkl", "npz", "html.php")
LAYOUTS: dict[str, dict[str, bytes]] = {
    "no members": {},
    "no images": {"cat/readme.txt": b"x"},
    "images in no folder": {"1.png": PNG, "2.png": PNG},
    "images at two depths": {**GOOD, "cat/more/3.png": PNG},
    "only hidden images": {".git/1.png": PNG, "__MACOSX/1.png": PNG},
}


def pack_zip(contents: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return file.getvalue()


def pack_tar(contents: Mapping[str, bytes]) -> bytes:
    return tar_of(*((tarfile.TarInfo(name), content) for name, content in contents.items()))


def pack_tar_gz(contents: Mapping[str, bytes]) -> bytes:
    return gzip.compress(pack_tar(contents), mtime=0)


PACKERS: dict[str, Callable[[Mapping[str, bytes]], bytes]] = {
    "zip": pack_zip,
    "tar": pack_tar,
    "tar.gz": pack_tar_gz,
}


def tar_of(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for entry, content in entries:
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def archives() -> Cases:
    """Yield (what is wrong, content)."""
    for kind, pack in PACKERS.items():
        yield from ((f"{kind}: {what}", content) for what, content in _packed(pack))
    yield from _special_members()
    yield from _odd_zips()
    yield from _bombs()


def _packed(pack: Callable[[Mapping[str, bytes]], bytes]) -> Cases:
    for name in NAMES:
        yield f"a member named {name[:30]!a}", pack({**GOOD, name: PNG})
    for what, content in NO_IMAGES.items():
        yield f"{what} named as an image", pack({**GOOD, "cat/3.png": content})
    for suffix in NESTED:
        yield f"a member that is .{suffix}", pack({**GOOD, f"cat/inside.{suffix}": pack(GOOD)})
    for what, contents in LAYOUTS.items():
        yield what, pack(contents)
    for what, contents in _idx_files().items():
        yield what, pack(contents)
    whole = pack(GOOD)
    for share in (0.1, 0.3, 0.5, 0.7):
        yield f"cut off at {share}", whole[: round(len(whole.rstrip(b"\0")) * share)]


def _idx_files() -> dict[str, dict[str, bytes]]:
    images, labels = idx(np.zeros((4, 6, 6), np.uint8)), idx(np.arange(4, dtype=np.uint8))
    huge = struct.pack(">BBBB3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1)
    names = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
    wrong = {
        "IDX of one more dimension": (idx(np.zeros((4, 6, 6, 1), np.uint8)), labels),
        "IDX of floats": (images[:2] + b"\x0d" + images[3:], labels),
        "IDX that is too short": (images[:-1], labels),
        "IDX that is too long": (images + b"x", labels),
        "IDX with a huge header": (huge, labels),
        "IDX with other labels": (images, idx(np.arange(5, dtype=np.uint8))),
        "IDX that is a header's half": (images[:6], labels),
    }
    made = {what: dict(zip(names, files, strict=True)) for what, files in wrong.items()}
    made["IDX without labels"] = {names[0]: images}
    made["IDX in a broken gz"] = {f"{names[0]}.gz": gzip.compress(images)[:-9], names[1]: labels}
    made["IDX in no gz"] = {f"{names[0]}.gz": images, names[1]: labels}
    return made


def _special_members() -> Cases:
    kinds = {
        "a symbolic link": tarfile.SYMTYPE,
        "a hard link": tarfile.LNKTYPE,
        "a character device": tarfile.CHRTYPE,
        "a block device": tarfile.BLKTYPE,
        "a pipe": tarfile.FIFOTYPE,
        "a sparse file": tarfile.GNUTYPE_SPARSE,
    }
    good = [(tarfile.TarInfo(name), content) for name, content in GOOD.items()]
    for what, kind in kinds.items():
        for target in ("/etc/passwd", "../../cat/1.png"):
            entry = tarfile.TarInfo("cat/3.png")
            entry.type, entry.linkname = kind, target
            content = tar_of(*good, (entry, b""))
            yield f"tar: {what} to {target}", content
            yield f"tar.gz: {what} to {target}", gzip.compress(content)
    unnamed = tarfile.TarInfo("cat/caf\udce9.png")
    unnamed.type, unnamed.linkname = tarfile.SYMTYPE, "1.png"
    yield "tar: a symbolic link whose name is not UTF-8", tar_of(*good, (unnamed, b""))
    link = zipfile.ZipInfo("cat/3.png")
    link.external_attr = 0o120777 << 16
    file = io.BytesIO(pack_zip(GOOD))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    yield "zip: a symbolic link", file.getvalue()
    yield from _odd_sizes()
    twice = [(tarfile.TarInfo("cat/1.png"), PNG)] * 2
    yield "tar: a name twice", tar_of(*good, *twice)


def _odd_sizes() -> Cases:
    """Tars whose first member says a size that cannot be."""
    for what, field in (
        ("below zero", b"\xff" * 12),
        ("a block below zero", b"\xff" * 10 + b"\xfe\x00"),
        ("of 95 bits", b"\x80" + b"\x7f" * 11),
        ("of 8 GiB", b"77777777777\0"),
    ):
        odd = bytearray(pack_tar(GOOD))
        odd[124:136] = field
        odd[148:156] = b" " * 8
        odd[148:156] = b"%06o\0 " % sum(odd[:512])
        yield f"tar: a size {what}", bytes(odd)


def _odd_zips() -> Cases:
    whole = bytearray(pack_zip(GOOD))
    directory = whole.index(b"PK\x01\x02")
    for what, offset, value in (
        ("an encrypted member", 8, b"\x01\x00"),
        ("bzip2", 10, b"\x0c\x00"),
        ("LZMA", 10, b"\x0e\x00"),
        ("an unknown packing", 10, b"\x63\x00"),
        ("another checksum", 16, b"\x01\x02\x03\x04"),
        ("another packed size", 20, b"\x01\x00\x00\x00"),
        ("another size", 24, b"\xff\xff\xff\x7f"),
        ("a place beyond the end", 42, b"\xff\xff\xff\x7f"),
        ("a version of the future", 6, b"\xff\x00"),
    ):
        odd = whole.copy()
        odd[directory + offset : directory + offset + len(value)] = value
        yield f"zip: {what}", bytes(odd)
    yield "zip: a directory of noise", bytes(whole[:directory]) + b"\xa5" * 200
    for magic in (b"PK\x03\x04", b"\x1f\x8b\x08\x00", b"\x1f\x8b"):
        for length in (0, 10, 1000, 100_000):
            yield f"{magic.hex()} and {length} bytes of noise", magic + b"\xa5" * length
    yield "ustar and noise", b"\xa5" * 257 + b"ustar" + b"\xa5" * 1000
    yield "gz of a table", gzip.compress(b"a,label\n1,x\n" * 100)
    yield "gz of nothing", gzip.compress(b"")


def _bombs() -> Cases:
    zeros = bytes(100 * 2**20)
    yield "zip: a bomb", pack_zip({**GOOD, "cat/3.png": PNG + zeros})
    yield "tar.gz: a bomb", pack_tar_gz({**GOOD, "cat/3.png": PNG + zeros})
    deep = gzip.compress(gzip.compress(pack_tar({"cat/3.png": zeros}), 9), 9)
    yield "gz of gz of a bomb", deep
    yield "zip of zip of a bomb", pack_zip({"cat/3.zip": pack_zip({"3.png": zeros})})
    header = tarfile.TarInfo("././@PaxHeader")
    header.type = tarfile.XHDTYPE
    yield "tar.gz: a bomb of a header", gzip.compress(tar_of((header, zeros)))
    long_name = tarfile.TarInfo("././@LongLink")
    long_name.type = tarfile.GNUTYPE_LONGNAME
    yield "tar.gz: a bomb of a name", gzip.compress(tar_of((long_name, zeros)))
    many = {f"cat/{number}.png": b"" for number in range(100_001)}
    yield "zip: 100,001 members", pack_zip(many)


def tables_of_idx(*, packed: bool) -> dict[str, bytes]:
    """Give IDX files that are as they should be, of three classes."""
    files = {
        "train-images-idx3-ubyte": idx(np.zeros((6, 5, 5), np.uint8)),
        "train-labels-idx1-ubyte": idx(np.arange(6, dtype=np.uint8) % 3),
    }
    return {f"{name}.gz": gzip.compress(file) for name, file in files.items()} if packed else files
