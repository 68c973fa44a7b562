"""What a client sends besides a job spec."""

from typing import Annotated, Literal, get_args

from pydantic import AwareDatetime, Field

from app.contracts.job import Metadata, Name, Priority
from app.contracts.naming import ModelName
from app.contracts.registry import ApiKey
from app.contracts.strict import Strict

Scope = Literal["jobs:read", "jobs:write", "files:write", "models:read", "admin"]

SCOPES: tuple[Scope, ...] = get_args(Scope)

KeyName = Annotated[str, Field(min_length=1, max_length=200)]


class Cancellation(Strict):
    """How to cancel a job that runs."""

    mode: Literal["graceful", "kill"] = Field(
        "graceful",
        description="`graceful` lets the trainer end at a step; `kill` ends it at once.",
    )


class Changes(Strict):
    """What a clone is to have in the place of the earlier job's; what is not given stays."""

    name: Name | None = Field(None, description="`null` for none.")
    priority: Priority = 0
    metadata: Metadata = Field(default={})


class ModelEdit(Strict):
    """What is to change of a model; what is not given stays."""

    name: ModelName | None = Field(
        None, description="Only for one that has none: it becomes the newest version of the name."
    )
    description: Annotated[str, Field(max_length=4000)] | None = Field(
        None, description="`null` for none."
    )
    metadata: Metadata | None = Field(None, description="In the place of all that there is.")


class AliasTarget(Strict):
    """What an alias is to stand for."""

    version: int = Field(ge=1, le=999_999_999, description="A version of the name.")


class NewApiKey(Strict):
    """A key to be made."""

    name: KeyName
    scopes: list[Scope] = Field(
        min_length=1,
        max_length=len(SCOPES),
        description="What the key may do; `files:write` also reads files, `admin` manages keys "
        "and nothing else.",
    )
    expires_at: AwareDatetime | None = Field(None, description="Never, where not given.")


class NewApiKeyWithSecret(ApiKey):
    """A key just made, with its secret: the only time that it is shown."""

    secret: str = Field(description="Send it as `Authorization: Bearer SECRET`.")
