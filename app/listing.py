"""What many routes are asked for in the same words: pages, moments, and which jobs."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Header, Query, Request
from pydantic import AfterValidator

from app.contracts.job import MOST_PAIRS, Status
from app.contracts.strict import WrittenMoment
from app.errors import BadRequest
from app.services.filters import Filters
from app.services.history import EVENT

After = Annotated[str | None, Query(description="The last id of the page before.")]
AfterEvent = Annotated[
    str | None,
    Query(
        description="The last id of the page before, or its number alone.",
        json_schema_extra={"pattern": f"^{EVENT.pattern}$"},
    ),
]
Limit = Annotated[int, Query(ge=1, le=100)]
IfMatch = Annotated[
    str | None, Header(description="The entity tag as read: 412 where it has moved since.")
]

METADATA = re.compile(r"metadata\[(.+)\]", re.DOTALL)
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)

METADATA_PARAMETER: dict[str, Any] = {
    "name": "metadata",
    "in": "query",
    "style": "deepObject",
    "explode": True,
    "description": "`metadata[KEY]=VALUE`: only jobs with that pair, and with each that is given.",
    "schema": {
        "type": "object",
        "propertyNames": {"minLength": 1},
        "maxProperties": MOST_PAIRS,
        "additionalProperties": {"type": "string"},
    },
}
"""For the OpenAPI document; FastAPI has no such parameters itself."""


def _within_reach(moment: datetime) -> datetime:
    # Databases keep UTC, where a moment at the end of the calendar can have no date; and nothing
    # lies between it and the nearest that has one.
    return min(max(moment, FIRST), LAST)


Bound = Annotated[WrittenMoment, AfterValidator(_within_reach)]
"""A moment that something lies before or after."""


async def filters(
    request: Request,
    status: Annotated[list[Status], Query(description="One or more, by repeating.")] = [],  # noqa: B006 (FastAPI copies it)
    name: Annotated[str | None, Query(description="The whole name.")] = None,
    parent_id: Annotated[str | None, Query(description="Clones and retries of this job.")] = None,
    created_after: Annotated[Bound | None, Query(description="From this moment on.")] = None,
    created_before: Annotated[Bound | None, Query(description="Before this moment.")] = None,
) -> Filters:
    """Read which jobs are wanted.

    Raises:
        BadRequest: A key of the metadata is given twice, with two values, or there are too many.
    """
    metadata: dict[str, str] = {}
    for parameter, value in request.query_params.multi_items():
        pair = METADATA.fullmatch(parameter)
        if pair is not None and metadata.setdefault(pair[1], value) != value:
            raise BadRequest(f"given {parameter} twice, with two values", param=parameter)
    if len(metadata) > MOST_PAIRS:
        message = f"given {len(metadata)} pairs; expected no more than a job has, {MOST_PAIRS}"
        raise BadRequest(message, param="metadata")
    return Filters(tuple(status), metadata, name, parent_id, created_after, created_before)
