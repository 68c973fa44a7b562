"""A served API for requests of every kind, and things in every state for them to name."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import httpx2

from app.contracts.report import FullReport
from app.db import verbs
from tests.faults.servers import Postgres, Valkey
from tests.jobs import put_checkpoint
from tests.onnx_files import tiny_onnx
from tests.unit.app.refused import put_knowledge
from tests.unit.app.served import Served, report, serve
from tests.unit.app.teachers import DIGITS, weights_of

DatabaseKind = Literal["sqlite", "postgres"]
DATABASES: tuple[DatabaseKind, ...] = get_args(DatabaseKind)
JOBS = "/v1/distillation/jobs"
SPEC: dict[str, Any] = {
    "name": "digits",
    "dataset": {"source": "builtin", "name": "digits"},
    "teacher": {"source": "train", "architecture": {"name": "mlp"}},
    "student": {"architecture": {"name": "mlp", "hidden_sizes": [8]}},
}
FILES = ("student/config.json", "teacher/config.json", "report.json", "report.html")


@dataclass
class Service:
    """A running API, with what its paths may name."""

    served: Served
    secret: str
    names: dict[str, list[str]] = field(default_factory=dict)
    """Values that reach something, by the name of a path's parameter."""
    bodies: dict[str, Any] = field(default_factory=dict)
    """Bodies that name what there is, by the operation's name."""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"}

    def tracebacks(self) -> dict[str, str]:
        """Return what the API logged of what nobody foresaw, whatever the client was told."""
        lines = self.served.key_file.with_name("api.log").read_text().splitlines()
        found = [line for line in lines if '"unexpected_error"' in line or "Traceback" in line]
        return {"logged by the API": found[0]} if found else {}


@contextmanager
def open_service(kind: DatabaseKind) -> Iterator[Service]:
    """Serve an API over a real queue and a database of that kind, in a folder of its own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conformance-")))
        # The user that PostgreSQL runs as has to get there.
        folder.chmod(0o755)
        valkey = Valkey(folder)
        stack.callback(valkey.kill)
        valkey.start()
        environment = {
            "STILLHOUSE_BROKER_URL": valkey.url,
            "STILLHOUSE_KEY_REQUESTS_PER_MINUTE": "0",
            "STILLHOUSE_ADDRESS_REQUESTS_PER_MINUTE": "0",
        }
        if kind == "postgres":
            postgres = Postgres(folder)
            stack.callback(postgres.close)
            _, environment["STILLHOUSE_DATABASE_URL"] = postgres.make_database()
        served = stack.enter_context(serve(folder, environment=environment))
        service = Service(served, served.key_file.read_text())
        with httpx2.Client(base_url=served.url, headers=service.headers, timeout=60) as client:
            furnish(service, client, folder)
        yield service


def furnish(service: Service, client: httpx2.Client, folder: Path) -> None:
    """Make things of every kind and state, and note what names them."""
    names = service.names
    names["job_id"] = _jobs(service.served, client, folder)
    names["checkpoint_id"] = [
        put_checkpoint(
            service.served.database,
            service.served.storage,
            names["job_id"][0],
            "student/config.json",
            "{}",
        )
    ]
    names["alias_id"] = ["digits@production", "digits@canary"]
    for alias_id in names["alias_id"]:
        _made(client.put(f"/v1/model_aliases/{alias_id}", json={"version": 1}))
    names["model_id"] = [*_ids(client, "/v1/models"), *names["alias_id"], "digits", "digits@2"]
    names["path"] = [*FILES, "config.json"]
    names["knowledge_id"] = [
        put_knowledge(service.served.database),
        put_knowledge(service.served.database, storage="top_k", top_k=3),
    ]
    names["file_id"] = [
        str(_made(client.post("/v1/files", files={"file": (name, content)}))["id"])
        for name, content in (("data.csv", b"a,label\n1,x\n"), ("notes.txt", b"x"))
    ]
    announced = {"filename": "a.csv", "purpose": "dataset", "bytes": 9, "mime_type": "text/csv"}
    weights = client.post("/v1/files", files={"file": ("model.safetensors", weights_of())})
    names["file_id"].append(str(_made(weights)["id"]))
    service.bodies["register_model"] = {
        **DIGITS,
        "name": "brought",
        "weights": names["file_id"][-1],
    }
    for _ in range(2):
        brought = _made(client.post("/v1/models", json=service.bodies["register_model"]))
        names["model_id"].append(str(brought["id"]))
    names["upload_id"] = [
        str(_made(client.post("/v1/uploads", json=announced))["id"]) for _ in range(2)
    ]
    sent = client.post(f"/v1/uploads/{names['upload_id'][0]}/parts", files={"data": b"a,label\n1"})
    service.bodies["complete_upload"] = {"part_ids": [_made(sent)["id"]]}
    names["webhook_id"] = [
        str(_made(client.post("/v1/webhooks", json=body))["id"])
        for body in (
            {"url": "https://hooks.example.com/a"},
            {"url": "https://hooks.example.com/b", "description": "b"},
        )
    ]
    names["delivery_id"] = [
        str(_made(client.post(f"/v1/webhooks/{one}/test"))["id"]) for one in names["webhook_id"][:1]
    ]
    names["key_id"] = [
        str(_made(client.post("/v1/api_keys", json={"name": "k", "scopes": ["jobs:read"]}))["id"])
        for _ in range(2)
    ]
    names["project_id"] = [
        str(_made(client.post("/v1/projects", json={"name": name}))["id"]) for name in ("p", "q")
    ]
    key = {"name": "k", "scopes": ["jobs:read"]}
    made = client.post(f"/v1/projects/{names['project_id'][0]}/api_keys", json=key)
    names["key_id"].append(str(_made(made)["id"]))
    # As the Hub's clients write them.
    names["project"] = [client.get("/v1/usage").json()["project_id"]]
    names["revision"] = ["main", "1", "production"]


def _jobs(served: Served, client: httpx2.Client, folder: Path) -> list[str]:
    """Make a job in every state; a worker holds the running ones for the length of a run."""
    ids = []

    def post() -> str:
        ids.append(str(_made(client.post(JOBS, json=SPEC))["id"]))
        return ids[-1]

    for number in range(2):
        post()
        served.succeed(_held(served), _outputs(folder / f"outputs-{number}"), report())
    post()
    served.fail(_held(served))
    post()
    _held(served)
    cancelling = post()
    _held(served)
    for verb, job_id in (("cancel", cancelling), ("pause", post()), ("cancel", post())):
        _made(client.post(f"{JOBS}/{job_id}/{verb}"))
    post()
    return ids


def _outputs(folder: Path) -> Path:
    for name in FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FullReport(**report().model_dump(), details={}).model_dump_json())
    (folder / "student" / "onnx").mkdir()
    (folder / "student" / "onnx" / "model.onnx").write_bytes(tiny_onnx())
    return folder


def _held(served: Served) -> tuple[str, int]:
    """Let a worker take the next job, for longer than a run lasts."""
    with served.database.write() as session:
        job = verbs.claim(session, "worker-1", 0, 86_400)
        assert job is not None
        return job.id, job.fence


def _ids(client: httpx2.Client, path: str) -> list[str]:
    return [str(one["id"]) for one in client.get(path).json()["data"]]


def _made(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.is_success, answer.text
    made: dict[str, Any] = answer.json()
    return made
