"""Who is calling, and whether their key may: dependencies, one of which every route declares."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, cast

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.contracts.requests import Scope
from app.errors import Forbidden, Unauthorized
from app.keyring import Keyring
from app.parameters import require_known
from app.services import keys
from app.services.parts import Parts

bearer = HTTPBearer(auto_error=False, description="An API key: `stillhouse keys create`.")


async def parts(request: Request) -> Parts:
    return cast("Parts", request.app.state.parts)


async def keyring(request: Request) -> Keyring:
    return cast("Keyring", request.app.state.keyring)


Service = Annotated[Parts, Depends(parts)]
Keys = Annotated[Keyring, Depends(keyring)]
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]


@dataclass(frozen=True)
class Needs:
    """A dependency: the caller's identity, if the key that they show has a scope.

    Only then it is looked at what parameters they send.
    """

    scope: Scope
    passes_over: bool = False
    """Whether query parameters that the route does not declare are passed over, not refused."""

    async def __call__(
        self, request: Request, known: Keys, credentials: Credentials
    ) -> keys.Identity:
        if credentials is None:
            raise Unauthorized("no API key is given; send `Authorization: Bearer KEY`")
        identity = await known.identify(credentials.credentials)
        require_scope(identity, self.scope)
        if not self.passes_over:
            require_known(request)
        return identity


def require_scope(identity: keys.Identity, scope: Scope) -> None:
    """Let a caller go on whose key has a scope.

    Raises:
        Forbidden: It has not.
    """
    if scope not in identity.scopes:
        has = ", ".join(sorted(identity.scopes))
        raise Forbidden(f"this needs a key with the scope {scope}; this one has {has}")


async def recognition(
    request: Request, known: Keys, credentials: Credentials
) -> Callable[[], Awaitable[keys.Identity]]:
    """Give what tells, as often as it is asked, who is reading jobs, for a request that lasts.

    It raises ``Unauthorized`` once the key has expired or been revoked.
    """
    return partial(Needs("jobs:read"), request, known, credentials)


async def open_to_all() -> None:
    """Declare, as a dependency, that a route needs no key.

    Parameters are passed over: those who look whether a service is well send some of their own.
    """


JobsReader = Annotated[keys.Identity, Depends(Needs("jobs:read"))]
Recognise = Annotated[Callable[[], Awaitable[keys.Identity]], Depends(recognition)]
JobsWriter = Annotated[keys.Identity, Depends(Needs("jobs:write"))]
FilesWriter = Annotated[keys.Identity, Depends(Needs("files:write"))]
ModelsReader = Annotated[keys.Identity, Depends(Needs("models:read"))]
HubClient = Annotated[keys.Identity, Depends(Needs("models:read", passes_over=True))]
"""Of the Hub's own routes, whose clients ask with more parameters in each version."""
Scraper = Annotated[keys.Identity, Depends(Needs("admin", passes_over=True))]
"""Of figures, which some scrapers ask for with parameters of their own."""
Admin = Annotated[keys.Identity, Depends(Needs("admin"))]
ProjectsAdmin = Annotated[keys.Identity, Depends(Needs("projects:admin"))]
