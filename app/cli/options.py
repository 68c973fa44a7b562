"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DATA = Path("stillhouse-data")

Url = Annotated[
    str | None,
    typer.Option(
        help=f"Of the service; else $STILLHOUSE_URL, else what `stillhouse up` wrote to {DATA}/url."
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        exists=True,
        dir_okay=False,
        help=f"A file with the API key; else $STILLHOUSE_API_KEY, else {DATA}/api_key.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print what the service answered, for programs.")
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Its id, as `distjob-...`.")]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        help="Given again, it makes no second job of the same request; a new one by default."
    ),
]
