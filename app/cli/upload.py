"""Uploads: a file as one form, a large one in parts, of which none that has arrived comes again."""

import hashlib
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import httpx2

from app.cli.client import Refused, Service, checked, complaints
from app.cli.progress import byte_bar
from app.contracts.registry import File
from app.contracts.uploads import Completion, NewUpload, Upload, UploadPart

ONE_FORM_BYTES = 64 * 1024**2
"""A larger file comes in parts."""
PART_BYTES = 16 * 1024**2
"""What is sent again at most after a break."""
UPLOADS = "/v1/uploads"
COMPLETION_TIMEOUT = httpx2.Timeout(900, connect=10)
"""The service reads all parts twice before it answers."""


def send(service: Service, path: Path, purpose: str, upload_id: str | None = None) -> File:
    """Upload a file, and show on a terminal how far it is.

    ``upload_id`` is of an upload of it that broke off.

    Raises:
        Refused: The service does not take it, or that upload is not of this file.
    """
    size = path.stat().st_size
    if upload_id is not None:
        upload = Upload.model_validate_json(service.get(f"{UPLOADS}/{upload_id}").content)
        if upload.bytes != size:
            raise Refused(
                f"{upload_id} is of a file of {upload.bytes} bytes, and {path} has {size}; leave "
                "out --go-on"
            )
    elif size > ONE_FORM_BYTES:
        upload = _begin(service, path, purpose, size)
    else:
        return _send_whole(service, path, purpose)
    with byte_bar(complaints) as bar, path.open("rb") as file:
        task = bar.add_task("sent", total=size)
        return _send_parts(service, upload, file, lambda sent: bar.advance(task, sent))


def send_part(service: Service, upload_id: str, piece: bytes) -> str:
    """Send a part; return its id."""
    form = {"data": ("part", piece)}
    answer = checked(service.http.post(f"{UPLOADS}/{upload_id}/parts", files=form))
    return UploadPart.model_validate_json(answer.content).id


def _send_whole(service: Service, path: Path, purpose: str) -> File:
    with byte_bar(complaints) as bar, bar.open(path, "rb", description="sent") as file:
        form = {"file": (path.name, file)}
        answer = checked(service.http.post("/v1/files", files=form, data={"purpose": purpose}))
    return File.model_validate_json(answer.content)


def _begin(service: Service, path: Path, purpose: str, size: int) -> Upload:
    new = NewUpload(filename=path.name, purpose=purpose, bytes=size)
    answer = service.post(UPLOADS, new.model_dump_json().encode())
    upload = Upload.model_validate_json(answer.content)
    again = f"stillhouse files upload {shlex.quote(str(path))} --go-on {upload.id}"
    complaints.print(f"Sent in parts. If it breaks off: {again}", markup=False, highlight=False)
    return upload


def _send_parts(
    service: Service, upload: Upload, file: BinaryIO, advance: Callable[[int], object]
) -> File:
    arrived = {part.sha256: part.id for part in upload.parts}
    whole, part_ids = hashlib.sha256(), []
    while piece := file.read(PART_BYTES):
        whole.update(piece)
        if upload.file is None:
            digest = hashlib.sha256(piece).hexdigest()
            arrived[digest] = arrived.get(digest) or send_part(service, upload.id, piece)
            part_ids.append(arrived[digest])
        advance(len(piece))
    found = upload.file or _complete(service, upload.id, part_ids, whole.hexdigest())
    if found.sha256 != whole.hexdigest():
        raise Refused(f"{upload.id} is of another file, which is {found.id}; leave out --go-on")
    return found


def _complete(service: Service, upload_id: str, part_ids: list[str], sha256: str) -> File:
    wanted = Completion(part_ids=part_ids, sha256=sha256, md5=None)
    answer = service.http.post(
        f"{UPLOADS}/{upload_id}/complete",
        content=wanted.model_dump_json(),
        headers={"Content-Type": "application/json"},
        timeout=COMPLETION_TIMEOUT,
    )
    file = Upload.model_validate_json(checked(answer).content).file
    if file is None:
        raise Refused(f"{upload_id} is completed, and its file has been deleted since")
    return file
