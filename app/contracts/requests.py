"""What a client sends besides a job spec."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from app.contracts.job import Metadata, Name, Priority
from app.contracts.registration import Description
from app.contracts.registry import ApiKey
from app.contracts.strict import Moment, Strict

Scope = Literal["jobs:read", "jobs:write", "files:write", "models:read", "admin", "projects:admin"]

SCOPES: tuple[Scope, ...] = get_args(Scope)
PROJECT_SCOPES: tuple[Scope, ...] = SCOPES[:-1]
"""What is about one project alone; the other is for whoever runs the installation."""

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


class Edit(Strict):
    """What to change of a job; what is not given stays."""

    name: Name | None = Field(None, description="`null` for none.")
    priority: Priority = 0
    metadata: Metadata = Field(default={}, description="In the place of all that there is.")


class ModelEdit(Strict):
    """What to change of a model; what is not given stays."""

    description: Description | None = Field(None, description="`null` for none.")
    metadata: Metadata = Field(default={}, description="In the place of all that there is.")


class AliasTarget(Strict):
    """What an alias is to stand for."""

    version: int = Field(ge=1, le=999_999_999, description="A version of the alias's name.")


class NewApiKey(Strict):
    """A key to be made."""

    name: KeyName
    scopes: list[Scope] = Field(
        min_length=1,
        max_length=len(SCOPES),
        description="What the key may do, which is no more than the key that makes it may; "
        "`files:write` also reads files, `admin` manages keys, reads the audit log and sees the "
        "workers, `projects:admin` manages projects.",
    )
    expires_at: Moment | None = Field(
        None,
        description="Never, where not given; no later than the key that makes it.",
    )


class NewApiKeyWithSecret(ApiKey):
    """A key just made, with its secret: the only time that it is shown."""

    secret: str = Field(description="Send it as `Authorization: Bearer SECRET`.")
