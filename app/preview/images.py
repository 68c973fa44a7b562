"""An archive of images in class folders, or of IDX files: how many of each, and the odd ones."""

import struct
from collections import Counter
from pathlib import PurePosixPath
from typing import IO

from app.contracts.data_limits import BESIDE_IMAGES, IDX_NAME, IMAGE_SUFFIXES, MAX_IMAGE_BYTES
from app.members import Member, members
from app.preview.findings import Broken, Findings

MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF87a", b"GIF89a", b"RIFF")
AT_ONCE = 2**20
MOST_UNPACKED_BYTES = 256 * 2**20
"""More of an archive is not looked at."""
_NUM_DIMENSIONS = {"images": 3, "labels": 1}

Paths = list[tuple[str, ...]]


def look(file: IO[bytes], findings: Findings, size: int) -> None:
    """Look at the members while there is time."""
    findings.kind = "images"
    findings.classes = Counter()
    paths: Paths = []
    counts: dict[str, int] = {}
    try:
        for member in members(file, size, MOST_UNPACKED_BYTES):
            if findings.is_late():
                break
            match = IDX_NAME.fullmatch(member.parts[-1])
            if match:
                findings.kind = "idx"
                key = f"{match[1]} {match[2]}"
                if key in counts:
                    message = f"is the {key}, and so is a member before it"
                    raise Broken("duplicate_member", message, member=member.name)
                counts[key] = _idx(member, match[2], findings)
            elif _image(member, findings):
                paths.append(member.parts)
    finally:
        _conclude(paths, counts, findings)


def _image(member: Member, findings: Findings) -> bool:
    """Look at a member; tell whether it is an image."""
    suffix = PurePosixPath(member.parts[-1]).suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        if suffix not in BESIDE_IMAGES:
            message = f"is no image ({' '.join(IMAGE_SUFFIXES)}); a nested archive is not opened"
            findings.problem("unknown_file", message, member=member.name)
        return False
    start = member.stream.read(16)
    num_bytes = len(start)
    while block := member.stream.read(AT_ONCE):
        num_bytes += len(block)
    if num_bytes > MAX_IMAGE_BYTES:
        findings.problem("too_large", "has more than 64 MiB", member=member.name)
    if not start.startswith(MAGIC):
        message = f"starts with {start[:8].hex(' ') or 'nothing'}, as no image does"
        findings.problem("not_an_image", message, member=member.name)
    return True


def _idx(member: Member, content: str, findings: Findings) -> int:
    """Look at an IDX file; return how many examples it says it has."""
    stream = member.opened()
    dimensions = _NUM_DIMENSIONS[content]
    start = stream.read(4 + 4 * dimensions)
    expected = bytes([0, 0, 8, dimensions])
    if not start.startswith(expected) or len(start) < 4 + 4 * dimensions:
        message = f"starts with {start[:4].hex(' ')}; IDX {content} with {expected.hex(' ')}"
        raise Broken("not_idx", message, member=member.name)
    sizes = struct.unpack(f">{dimensions}I", start[4:])
    wanted, found = 1, 0
    for one in sizes:
        wanted *= one
    while block := stream.read(AT_ONCE):
        found += len(block)
        if content == "labels" and findings.classes is not None:
            findings.classes.update(str(value) for value in block)
    if found != wanted:
        message = f"holds {found} values, where its header says {wanted}"
        raise Broken("broken_file", message, member=member.name)
    return int(sizes[0]) if wanted else 0


def _conclude(paths: Paths, counts: dict[str, int], findings: Findings) -> None:
    if findings.kind == "idx":
        findings.num_rows = sum(number for key, number in counts.items() if key.endswith("images"))
        if findings.is_whole and not findings.num_problems:
            _check_idx(counts, findings)
        return
    findings.num_rows = len(paths)
    if findings.classes is not None:
        _place(paths, findings.classes, findings)


def _check_idx(counts: dict[str, int], findings: Findings) -> None:
    parts = ["train", "t10k"] if any(key.startswith("t10k") for key in counts) else ["train"]
    for part in parts:
        images, labels = counts.get(f"{part} images"), counts.get(f"{part} labels")
        if images is None or labels is None:
            missing = "images" if images is None else "labels"
            findings.problem("missing_file", f"the archive has no {part} {missing}")
        elif images != labels or images == 0:
            findings.problem("counts_differ", f"{images} {part} images and {labels} labels")


def _place(paths: Paths, classes: Counter[str], findings: Findings) -> None:
    if not paths:
        if findings.is_whole and not findings.num_problems:
            findings.problem("no_images", "the archive holds no images in class folders")
        return
    wrapping = 0
    while all(len(path) > wrapping + 2 and path[wrapping] == paths[0][wrapping] for path in paths):
        wrapping += 1
    is_split = {path[wrapping] for path in paths} == {"train", "test"}
    depth = wrapping + (3 if is_split else 2)
    for path in paths:
        if len(path) == depth:
            classes[path[-2]] += 1
        else:
            message = "does not lie where images are expected: in one folder, its class"
            findings.problem("bad_layout", message, member="/".join(path))
