"""The rules every contract keeps: no unknown field, no change after the check, finite numbers.

And no value of another type than the field's: neither `"3"` nor `true` is the number 3 or 1.
"""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)

FileId = Annotated[
    str,
    Field(pattern=r"^file-[A-Za-z0-9-]{1,64}$", description="An uploaded file: POST /v1/files."),
]
ModelReference = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(@[A-Za-z0-9][A-Za-z0-9_-]{0,62})?$",
        description="A model, GET /v1/models: its id, or NAME, NAME@VERSION or NAME@ALIAS as they "
        "are when the job is posted; `resolved_spec` has the id.",
    ),
]
KnowledgeId = Annotated[
    str,
    Field(
        pattern=r"^knowledge-[A-Za-z0-9-]{1,64}$",
        description="Collected knowledge: GET /v1/knowledge.",
    ),
]


def _written_out(value: object) -> object:
    """Refuse a moment that is a bare number, which would be read as seconds since 1970."""
    is_number = isinstance(value, int | float) or (
        isinstance(value, str) and value.lstrip("+-").replace(".", "", 1).isdigit()
    )
    if is_number:
        raise ValueError(f"given {value}; expected a moment as 2030-01-31T12:00:00Z")
    return value


def _in_utc(moment: datetime) -> datetime:
    """Refuse a moment at the calendar's end that has no date in UTC, which is what is kept."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        message = f"given {moment.isoformat()}; expected one in the years 1 to 9999 of UTC"
        raise ValueError(message) from None


WrittenMoment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_written_out)]
"""A moment with its time zone, written out as RFC 3339 has it."""
Moment = Annotated[WrittenMoment, AfterValidator(_in_utc)]
"""One that can be kept; in UTC, whatever zone it was given in."""


class Strict(BaseModel):
    """A contract: refuses unknown fields and infinite numbers, and cannot be changed."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, serialize_by_alias=True
    )
