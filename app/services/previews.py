"""What a file holds, and why a job would refuse it, before one reads it."""

from app.contracts.preview import Preview, PreviewProblem
from app.contracts.registry import File
from app.services.looks import NoLook, look
from app.storage import Storage


def preview(storage: Storage, file: File, label: str, delimiter: str) -> Preview:
    """Look at a file's beginning and at what is wrong with it.

    Raises:
        Conflict: It is too large to be fetched for a look.
        Unavailable: Others are being looked at.
    """
    asked = [file.media_type, str(file.bytes), label, delimiter]
    try:
        found = look(storage, file, "app.preview", asked)
    except NoLook as error:
        return _failed(file, error.code, str(error))
    return Preview.model_validate({"file_id": file.id, **found})


def _failed(file: File, code: str, message: str) -> Preview:
    return Preview(
        file_id=file.id,
        kind="unknown",
        is_whole=False,
        columns=[],
        rows=[],
        classes=[],
        num_problems=1,
        problems=[PreviewProblem(code=code, message=message)],
    )
