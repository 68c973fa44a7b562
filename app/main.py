"""The API's application: ``uvicorn app.main:create_app --factory``."""

import asyncio
import ctypes
import gc
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from types import FrameType
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig

from app import logs, problems
from app.config import Settings
from app.db.session import Database
from app.gate import Gate
from app.intake import Intake
from app.keyring import Keyring
from app.metrics import Metrics
from app.predictor import Predictor
from app.queue import Queue
from app.room import Turns
from app.routes import (
    api_keys,
    audit,
    catalog,
    checkpoints,
    event_stream,
    files,
    fine_tuning,
    health,
    history,
    hub,
    installation,
    jobs,
    knowledge,
    metrics,
    model_aliases,
    models,
    predictions,
    projects,
    result_files,
    results,
    uploads,
    usage,
    webhooks,
)
from app.services.figures import Figures
from app.services.keys import load_pepper
from app.services.parts import Parts
from app.services.readiness import Readiness
from app.services.watching import Watcher
from app.storage import SHORT_PATIENCE_SECONDS, Storage
from app.tracing import open_tracing

ROUTERS = [
    module.router
    for module in (
        *(jobs, history, event_stream, checkpoints, results, result_files, files, uploads),
        *(knowledge, models, model_aliases, predictions, hub, fine_tuning, catalog, installation),
        *(usage, webhooks, api_keys, projects, audit, health, metrics),
    )
]

UPLOADS_AT_ONCE, UPLOADS_OF_ONE_PROJECT = 8, 6
"""How many are hashed and stored; each takes one of some 40 threads, for minutes if it is large."""
UPLOAD_WAIT_SECONDS = 45.0
"""How long one waits for that; clients, and proxies before us, give up after a minute."""

ENDING = (signal.SIGINT, signal.SIGTERM)

_describing = threading.Lock()
"""Many may ask for the document at once, each in a thread; one makes it."""

PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": problems.ProblemBody, "description": "What the client can mend."},
    "5XX": {"model": problems.ProblemBody, "description": "What the service could not do."},
}


def create_app(settings: Settings | None = None) -> FastAPI:
    """Open the database, storage and queue, and make the application; it migrates nothing."""
    settings = settings or Settings()
    logs.configure()
    tracing = open_tracing("stillhouse-api")
    app = FastAPI(
        title="Stillhouse",
        summary="Knowledge distillation as a service.",
        version=version("stillhouse"),
        lifespan=_lifespan,
        responses=PROBLEMS,
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,
        # Every route needs a declared scope; FastAPI's own have none. See `routes/health.py`.
        openapi_url=None,
        # Figures are Prometheus', logs are lines.
        telemetry=TelemetryConfig(
            tracer_provider=tracing.provider, metrics=False, logs=False, operation_spans=False
        ),
    )
    parts = Parts(
        Database(settings.database_url),
        Storage(settings.storage_url, SHORT_PATIENCE_SECONDS),
        Queue(settings.broker_url),
        load_pepper(settings.pepper_file),
        settings.webhook_networks,
        Metrics(),
        tracing,
        Predictor(),
    )
    Figures(parts.database, parts.metrics.registry)
    app.state.parts = parts
    app.state.readiness = Readiness(parts)
    app.state.watcher = Watcher(parts.database)
    app.state.upload_turns = Turns(
        "uploads are being stored",
        places=UPLOADS_AT_ONCE,
        of_one_project=UPLOADS_OF_ONE_PROJECT,
        patience_seconds=UPLOAD_WAIT_SECONDS,
    )
    app.state.keyring = Keyring(parts.database, parts.pepper)
    app.state.gate = Gate(settings, parts.database, app.state.keyring)
    app.add_middleware(Intake, gate=app.state.gate, metrics=parts.metrics)
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    if _has_process():
        # What is there by now stays: looking through it for what does not makes answers late.
        gc.collect()
        gc.freeze()
    writing = asyncio.create_task(app.state.gate.write_refusals())
    with _told_of_the_end(app.state.watcher):
        yield
    app.state.watcher.close()
    writing.cancel()
    await app.state.gate.close()
    app.state.parts.close()


@contextmanager
def _told_of_the_end(watcher: Watcher) -> Iterator[None]:
    """Let those who wait go at the signal: a server ends only after its answers have."""
    if not _has_process():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {one: signal.getsignal(one) for one in ENDING}

    def end(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(watcher.close)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for one in ENDING:
        signal.signal(one, end)
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


def _has_process() -> bool:
    """Tell whether this is the main thread: that of a process which is there to serve."""
    return threading.current_thread() is threading.main_thread()


def _operation_id(route: APIRoute) -> str:
    return route.name


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Describe the routes; FastAPI would give problems the media type of the route's success."""
    with _describing:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app)
            _give_memory_back()
        return app.openapi_schema


def _described(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, summary=app.summary, routes=app.routes
    )
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                _without_null(parameter["schema"])
            for status in PROBLEMS:
                answer = operation["responses"][status]
                answer["content"] = {problems.MEDIA_TYPE: next(iter(answer["content"].values()))}
    return document


def _give_memory_back() -> None:
    """Return to the system what is free, where the C library can: it would else be kept."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _without_null(schema: dict[str, Any]) -> None:
    """Take `null` out of a parameter's schema: in an address or header, it is four letters."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        del schema["anyOf"]
        schema |= kinds[0]
