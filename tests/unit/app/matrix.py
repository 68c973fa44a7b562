"""All routes of the application, and how to call each on things that a project really has."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from httpx2 import Response
from sqlalchemy import select

from app.access import Needs, open_to_all
from app.contracts.requests import Scope
from app.db.models import Project
from tests.jobs import put_checkpoint
from tests.onnx_files import tiny_onnx
from tests.unit.app.conftest import Api, spec
from tests.unit.app.refused import knowledge_of
from tests.unit.app.teachers import DIGITS, weights_of

MARK = "known-to-the-first-project-alone"
"""In all that the project names and stores: whoever reads it has seen what is not theirs."""

BODIES: dict[str, dict[str, Any]] = {
    "create_job": {"json": spec(name=MARK)},
    "create_file": {"files": {"file": (f"{MARK}.csv", f"a,label\n1,{MARK}\n".encode())}},
    "create_upload": {"json": {"filename": f"{MARK}.csv", "bytes": 4}},
    "create_upload_part": {"files": {"data": ("data", b"abc\n")}},
    "create_api_key": {"json": {"name": MARK, "scopes": ["admin"]}},
    "create_project": {"json": {"name": "a-new-project"}},
    "update_project": {"json": {"quotas": {"queued_jobs": 1000}}},
    "edit_job": {"json": {"metadata": {"mark": MARK}}},
    "edit_model": {"json": {"description": MARK}},
    "create_webhook": {"json": {"url": f"https://hooks.example.com/{MARK}"}},
    "change_webhook": {"json": {"description": MARK}},
    "predict": {"json": {"inputs": [[1, 2]]}},
    "create_fine_tuning_job": {"json": {"model": "mlp", "training_file": "digits", "suffix": MARK}},
    "move_model_alias": {"json": {"version": 1}},
    "create_project_key": {"json": {"name": MARK, "scopes": ["jobs:read"]}},
}
"""What a route takes, by its name; one that is not here is called without a body."""

STATES = {
    "pause_job": "queued",
    "resume_job": "paused",
    "cancel_job": "queued",
    "retry_job": "cancelled",
    "pause_fine_tuning_job": "queued",
    "resume_fine_tuning_job": "paused",
    "cancel_fine_tuning_job": "queued",
}
"""The state that a job must be in; for all other routes one that has ended."""


ASKING = {"predict"}
"""What is posted and changes nothing."""


@dataclass(frozen=True)
class Route:
    name: str
    method: str
    path: str
    says: frozenset[object]
    """What it and its dependencies declare of who may call it."""

    @property
    def is_open(self) -> bool:
        return open_to_all in self.says

    @property
    def scope(self) -> Scope:
        (needs,) = (one for one in self.says if isinstance(one, Needs))
        return needs.scope

    @property
    def names_things(self) -> bool:
        return "{" in self.path

    @property
    def changes(self) -> bool:
        return self.method not in {"GET", "HEAD"} and self.name not in ASKING

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def routes_of(app: FastAPI) -> list[Route]:
    """Find every route, each method of it on its own."""
    found = []
    for context in iter_route_contexts(app.routes):
        assert isinstance(context.original_route, APIRoute), context.path
        name, path = str(context.name), str(context.path)
        says = frozenset(_declared(context.dependant))
        found += [Route(name, method, path, says) for method in context.methods or ()]
    return found


class World:
    """A project with things of each kind."""

    def __init__(self, api: Api) -> None:
        self.api = api
        with api.database.read() as session:
            named = select(Project.id).where(Project.name == "default")
            self.project_id = session.scalars(named).one()

        # Before anyone calls who may not.
        weights = api.upload(weights_of(), f"{MARK}.safetensors")
        self._teacher = {**DIGITS, "weights": weights["id"], "description": MARK}
        self._standing: dict[str, str] = {}
        self._part_ids: dict[str, str] = {}

    def things(self, route: Route) -> dict[str, str]:
        """Give what the path of a route names, for calls that use nothing up."""
        return self._make(route, "ended", self._standing)

    def new_things(self, route: Route) -> dict[str, str]:
        """Make what the path of a route names, in the state that it needs."""
        return self._make(route, STATES.get(route.name, "ended"), {})

    def _make(self, route: Route, state: str, made: dict[str, str]) -> dict[str, str]:
        makers: dict[str, Callable[[], str]] = {
            "job_id": lambda: self._job(state),
            "checkpoint_id": lambda: put_checkpoint(
                self.api.database,
                self.api.parts.storage,
                made["job_id"],
                "student/config.json",
                MARK,
            ),
            "file_id": lambda: str(self.api.upload(MARK.encode(), f"{MARK}.txt")["id"]),
            "upload_id": self._upload,
            "model_id": lambda: self._end(str(self.api.post_job(name=MARK)["id"])),
            "alias_id": self._alias,
            "knowledge_id": lambda: knowledge_of(self.api),
            "key_id": self._key,
            "webhook_id": self._webhook,
            "delivery_id": lambda: self._delivery(made["webhook_id"]),
            "project_id": lambda: self.project_id,
            "project": lambda: self.project_id,
            "revision": lambda: "main",
            "path": lambda: "",
        }
        names = [part.split("}")[0].split(":")[0] for part in route.path.split("{")[1:]]
        for name in names:
            assert name in makers, f"{route}: tell tests/unit/app/matrix.py how to make {name}"
            if name not in made:
                made[name] = makers[name]()
        inside = {"model_id", "checkpoint_id"} & set(names)
        path = "config.json" if inside else "student/config.json"
        return {name: path if name == "path" else made[name] for name in names}

    def _key(self) -> str:
        body = {"name": MARK, "scopes": ["jobs:read"]}
        return str(self.api.client.post("/v1/api_keys", json=body).json()["id"])

    def _upload(self) -> str:
        body = {"filename": f"{MARK}.csv", "bytes": 4}
        upload_id = str(self.api.client.post("/v1/uploads", json=body).json()["id"])
        path = f"/v1/uploads/{upload_id}/parts"
        part = self.api.client.post(path, files={"data": ("data", b"1,x\n")})
        self._part_ids[upload_id] = str(part.json()["id"])
        return upload_id

    def _webhook(self) -> str:
        body = {"url": f"https://hooks.example.com/{MARK}"}
        return str(self.api.client.post("/v1/webhooks", json=body).json()["id"])

    def _alias(self) -> str:
        # Not by the mark: who is refused is told what they named.
        self._end(str(self.api.post_job(name="aliased", metadata={"mark": MARK})["id"]))
        alias_id = "aliased@production"
        path = f"/v1/model_aliases/{alias_id}"
        assert self.api.client.put(path, json={"version": 1}).status_code == 200
        return alias_id

    def _delivery(self, webhook_id: str) -> str:
        return str(self.api.client.post(f"/v1/webhooks/{webhook_id}/test").json()["id"])

    def call(self, route: Route, things: dict[str, str], headers: dict[str, str]) -> Response:
        address = re.sub(r":\w+}", "}", route.path).format(**things)
        # A body where one is taken: it is the caller that is to be refused, not the request.
        body = BODIES.get(route.name, {})
        if route.name == "register_model":
            body = {"json": self._teacher}
        if route.name == "complete_upload":
            part = self._part_ids.get(things["upload_id"], "part-none")
            body = {"json": {"part_ids": [part]}}
        return self.api.client.request(route.method, address, headers=headers, **body)

    def _job(self, state: str) -> str:
        job_id = str(self.api.post_job(name=MARK)["id"])
        if state in {"paused", "cancelled"}:
            verb = {"paused": "pause", "cancelled": "cancel"}[state]
            self.api.client.post(f"/v1/distillation/jobs/{job_id}/{verb}")
        elif state == "ended":
            self._end(job_id)
        return job_id

    def _end(self, job_id: str) -> str:
        held = self.api.claim()
        while held[0] != job_id:
            # One that an earlier call has queued.
            held = self.api.claim()
        report = f'{{"mark": "{MARK}"}}'.encode()
        files = {"student/config.json": report, "report.json": report, "report.html": report}
        files["student/onnx/model.onnx"] = tiny_onnx()
        return self.api.succeed(held, files)


def _declared(dependant: Dependant) -> set[object]:
    found: set[object] = set()
    for one in dependant.dependencies:
        if isinstance(one.call, Needs) or one.call is open_to_all:
            found.add(one.call)
        found |= _declared(one)
    return found
