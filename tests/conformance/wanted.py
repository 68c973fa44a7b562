"""One request at least that each operation takes: only of an answer that came is its form seen."""

import itertools
from typing import Any

import schemathesis
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Err, Ok
from schemathesis.schemas import APIOperation

from tests.conformance.outcome import Outcome
from tests.conformance.service import SPEC, Service

Operation = APIOperation[Any, Any, Any, Any]

MOST_TRIES = 400
LAST = ("POST complete", "POST cancel", "DELETE")
"""What uses up things that others name comes after them."""

BODIES: dict[str, Any] = {
    "create_job": SPEC,
    "edit_job": {"metadata": {"team": "vision"}},
    "edit_model": {"description": "wanted", "metadata": {"team": "vision"}},
    "create_fine_tuning_job": {"model": "mlp", "training_file": "digits"},
    "create_file": {"file": b"a,label\n1,x\n"},
    "create_upload": {"filename": "b.csv", "bytes": 9, "mime_type": "text/csv"},
    "create_upload_part": {"data": b"a,label\n1"},
    "create_api_key": {"name": "wanted", "scopes": ["jobs:read"]},
    "create_project": {"name": "wanted"},
    "update_project": {"quotas": {"queued_jobs": 1000}},
    "create_project_key": {"name": "wanted", "scopes": ["jobs:read"]},
    "create_webhook": {"url": "https://hooks.example.com/wanted"},
    "change_webhook": {"description": "wanted"},
    "rotate_webhook_secret": {"overlap_seconds": 60},
    "move_model_alias": {"version": 2},
    "predict": {"inputs": [[1, 2]]},
}
"""By the name of the operation; one that is not here is asked without a body."""


def run(service: Service) -> Outcome:
    """Ask for everything there is, by its names, until it is given; judge every answer."""
    outcome = Outcome()
    schema = schemathesis.openapi.from_url(f"{service.served.url}/openapi.json")
    found = list(schema.get_all_operations())
    for one in found:
        if isinstance(one, Err):
            outcome.complain("an operation that cannot be read", str(one.err()))
    operations = [one.ok() for one in found if isinstance(one, Ok)]
    for operation in sorted(operations, key=_turn):
        if not any(
            _is_given(service, operation, names, outcome) for names in _tries(service, operation)
        ):
            statuses = {status for label, status in outcome.answers if label == operation.label}
            outcome.complain(f"{operation.label}: never a success", f"only {sorted(statuses)}")
    return outcome


def _turn(operation: Operation) -> int:
    verb = f"{operation.method.upper()} {operation.path.rpartition('/')[2]}"
    return next((place for place, start in enumerate(LAST, 1) if verb.startswith(start)), 0)


def _tries(service: Service, operation: Operation) -> list[dict[str, str]]:
    parameters = [one.name for one in operation.path_parameters]
    # Of a job that has not ended, a stream would not end either.
    known = {**service.names}
    if operation.path.endswith("/stream"):
        known["job_id"] = known["job_id"][:2]
    ways = itertools.product(*(known[name] for name in parameters))
    return [dict(zip(parameters, way, strict=True)) for way in itertools.islice(ways, MOST_TRIES)]


def _is_given(
    service: Service,
    operation: Operation,
    names: dict[str, str],
    outcome: Outcome,
) -> bool:
    name = operation.definition.raw["operationId"]
    body = service.bodies.get(name, BODIES.get(name))
    case = operation.Case(path_parameters=names, **({} if body is None else {"body": body}))
    response = case.call(headers=service.headers, timeout=60)
    outcome.count(operation.label, response.status_code)
    try:
        case.validate_response(response, headers=service.headers)
    except (Failure, FailureGroup) as failure:
        outcome.complain(f"{operation.label}: {type(failure).__name__}", f"{failure}\n{case!r}")
    return response.status_code < 400
