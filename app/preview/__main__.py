"""Looks at the file that is its standard input and prints what it found, as JSON.

Run as ``python -S -m app.preview MEDIA_TYPE SIZE LABEL DELIMITER``, the last one may be empty.
"""

import json
import os
import sys
from typing import IO

from app.members import BROKEN, Enough, Refused
from app.preview import images, parquet, table, tensors
from app.preview.findings import Broken, Findings
from app.preview.limits import MOST_SECONDS, limit

ARCHIVES = ("application/zip", "application/gzip", "application/x-tar")


def main() -> None:
    limit()
    media_type, size, label, delimiter = sys.argv[1:]
    with os.fdopen(0, "rb") as file:
        findings = look(file, media_type, int(size), label, delimiter or None)
    sys.stdout.write(json.dumps(findings.as_json()))


def look(
    file: IO[bytes], media_type: str, size: int, label: str, delimiter: str | None
) -> Findings:
    """Look at a file; whatever it is, what is found of it is the answer."""
    findings = Findings()
    try:
        _look(file, findings, media_type, size, (label, delimiter))
    except Enough:
        findings.is_whole = False
    except Refused as error:
        findings.refused(error)
    except MemoryError:
        findings.problem("too_large", "a look at it takes more memory than there is for it")
    except TimeoutError:
        findings.problem("too_large", f"a look at it takes more than {MOST_SECONDS} s")
    except (*BROKEN, LookupError) as error:
        message = f"the file is damaged or cut off: {str(error) or type(error).__name__}"
        findings.problem("broken_file", message)
    return findings


def _look(
    file: IO[bytes],
    findings: Findings,
    media_type: str,
    size: int,
    columns: tuple[str, str | None],
) -> None:
    start = file.read(16)
    file.seek(0)
    # Text that is not UTF-8 counts as bytes, and is a table all the same: its line is then named.
    is_text = b"\0" not in start[:1] and not start.startswith(images.MAGIC)
    if media_type in ARCHIVES:
        images.look(file, findings, size)
    elif start.startswith(parquet.MAGIC):
        parquet.look(file, findings, size)
    elif start[8:9] == b"{" and start[4:8] == bytes(4):
        tensors.look(file, findings, size)
    elif is_text:
        table.look(file, findings, *columns)
    else:
        message = f"starts with {start[:8].hex(' ')}: no table, archive, Parquet or safetensors"
        raise Broken("unknown_kind", f"the file {message}; IDX files are read from an archive")


if __name__ == "__main__":
    main()
