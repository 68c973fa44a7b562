"""An archive of data: what `app/members.py` finds in it, with failures as a job tells them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app import members as archived
from worker.distillation.errors import BadInput


class Member(archived.Member):
    """One regular file in an archive; its stream ends when the next member is asked for."""

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn what damaged data raises into BadInput that names the member."""
        try:
            yield
        except archived.Refused as refused:
            raise _bad_input(refused) from refused
        except archived.BROKEN as error:
            raise BadInput(
                "broken_file", f'"{self.name}" is damaged or cut off: {error}'
            ) from error

    def read(self, limit: int) -> bytes:
        """Read all of it. Raises BadInput if it is longer than ``limit`` bytes or damaged."""
        with self.reading():
            content = self.stream.read(limit + 1)
        if len(content) > limit:
            raise BadInput("too_large", f'"{self.name}" is larger than {limit / 2**20:.0f} MiB')
        return content


def members(path: Path) -> Iterator[Member]:
    """Yield the regular files in an archive, in its order, without hidden ones and `__MACOSX`.

    Raises BadInput where the file is no archive, is damaged, holds a link or a device, too many
    files, a name twice, or unpacks to more than 100 times its size.
    """
    try:
        with path.open("rb") as file:
            for one in archived.members(file, path.stat().st_size):
                yield Member(one.name, one.parts, one.num_packed_bytes, one.stream)
    except archived.Refused as refused:
        raise _bad_input(refused) from refused
    except archived.BROKEN as error:
        raise BadInput("broken_archive", f"The archive is damaged or cut off: {error}") from error


def _bad_input(refused: archived.Refused) -> BadInput:
    words = str(refused)
    message = (
        f'"{refused.member[:100]}" {words}' if refused.member else words[:1].upper() + words[1:]
    )
    return BadInput(refused.code, message, refused.hint)
