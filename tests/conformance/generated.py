"""Requests that schemathesis makes up from the OpenAPI document, all its checks on each answer."""

import json
from random import Random
from typing import Any

import schemathesis
from schemathesis import Case
from schemathesis.config import SchemathesisConfig
from schemathesis.core.transport import Response
from schemathesis.engine import from_schema
from schemathesis.engine.events import EngineEvent, NonFatalError, ScenarioFinished
from schemathesis.generation.meta import CoveragePhaseData, StatefulPhaseData
from schemathesis.hooks import HookContext

from tests.conformance.outcome import Outcome
from tests.conformance.service import Service

PHASES = ("examples", "coverage", "fuzzing", "stateful")
CREATE_JOB = "POST /v1/distillation/jobs"
NUM_SPECS, NUM_COVERED = 7_000, 1_700
"""About how many cases the document has of job specs, and of all else."""
LONGEST_WAIT_SECONDS = 0.02
ALLOWED_SECONDS = 60
KNOWN_SHARE = 0.75
"""Of the requests whose path names something, those that name what there is."""
MOST_KNOWN = 40
MOST_EXAMPLES = 200
KINDS = {"api_key": "key", "distillation.job": "job", "webhook.delivery": "delivery"}
"""The path's word for what is made, where it is not that of its `object`."""

CHECKS: dict[str, Any] = {
    # What only a rule across fields, a state or a precondition refuses: no schema can say it.
    "positive_data_acceptance": {
        "expected-statuses": ["2xx", "3xx", "401", "403", "404", "409", "412", "416", "422"]
    },
    "negative_data_rejection": {
        "expected-statuses": ["400", "401", "403", "404", "405", "409", "412", "413", "416", "422"]
    },
}


def run(service: Service, num_requests: int, seed: int) -> Outcome:
    """Send each case of the document once, and then made-up ones until there are that many.

    Most cases are of job specs; of these only a share, where so many are not asked for.
    """
    outcome = Outcome()
    share = (num_requests - NUM_COVERED) / NUM_SPECS
    sender = _Sender(service, outcome, share, Random(seed))  # noqa: S311 (nothing is kept secret with it)
    _install(sender)
    try:
        _round(service, outcome, seed, {"coverage": {}})
        while outcome.num_requests < num_requests and not outcome.complaints:
            seed += 1
            missing = num_requests - outcome.num_requests
            examples = min(MOST_EXAMPLES, 1 + missing // len(outcome.answers))
            generation = {"generation": {"max-examples": examples}}
            _round(service, outcome, seed, {"fuzzing": generation, "stateful": generation})
    finally:
        schemathesis.hooks.unregister_all()
    return outcome


def _install(sender: "_Sender") -> None:
    """Hooks must be functions, which schemathesis marks as its own."""

    @schemathesis.hook
    def filter_case(context: HookContext, case: Case[Any]) -> bool:
        return sender.is_wanted(case)

    @schemathesis.hook
    def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
        sender.prepare(case)

    @schemathesis.hook
    def after_call(context: HookContext, case: Case[Any], response: Response) -> None:
        sender.note(case, response)


def _round(service: Service, outcome: Outcome, seed: int, phases: dict[str, Any]) -> None:
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "headers": service.headers,
            "continue-on-failure": True,
            "request-timeout": 20,
            "checks": CHECKS,
            # NUL, which is refused everywhere, is in the hostile set.
            "generation": {"no-shrink": True, "database": "none", "allow-x00": False},
            "phases": {
                name: {**phases.get(name, {}), "enabled": name in phases} for name in PHASES
            },
        }
    )
    schema = schemathesis.openapi.from_url(f"{service.served.url}/openapi.json", config=config)
    for event in from_schema(schema).execute():
        _judge(event, outcome)


def _judge(event: EngineEvent, outcome: Outcome) -> None:
    if isinstance(event, NonFatalError):
        outcome.complain(f"{event.label}: {event.info.title}", str(event.value))
    if not isinstance(event, ScenarioFinished):
        return
    for case_id, nodes in event.recorder.checks.items():
        for failure in (node.failure_info.failure for node in nodes if node.failure_info):
            case = event.recorder.cases[case_id].value
            outcome.complain(
                f"{case.operation.label}: {failure.title}", f"{failure.message}\n{case!r}"
            )


class _Sender:
    """Lets requests name what there is, and none of them wait for long."""

    def __init__(self, service: Service, outcome: Outcome, share: float, random: Random) -> None:
        self._names = service.names
        self._own_key = service.secret.split("_")[1]
        self._ended = service.names["job_id"][:2]
        self._outcome = outcome
        self._share = share
        self._random = random

    def is_wanted(self, case: Case[Any]) -> bool:
        is_spec = case.operation.label == CREATE_JOB
        is_covering = case.meta is not None and isinstance(case.meta.phase.data, CoveragePhaseData)
        if _is_no_form(case) or _is_no_text(case.query):
            return False
        return not (is_spec and is_covering) or self._random.random() < self._share

    def prepare(self, case: Case[Any]) -> None:
        path: dict[str, Any] = case.path_parameters
        is_stateful = case.meta is not None and isinstance(case.meta.phase.data, StatefulPhaseData)
        for name, value in path.items():
            if not is_stateful and self._random.random() < KNOWN_SHARE:
                path[name] = self._random.choice(self._names.get(name) or [value])
        if self._own_key in str(path.get("key_id")):
            path["key_id"] = self._names["key_id"][0]
        if case.path.endswith("/stream") and path.get("job_id") in self._names["job_id"]:
            # Of a job that has not ended, it would not end either.
            path["job_id"] = self._random.choice(self._ended)
        if "wait" in case.query:
            case.query["wait"] = _shortened(case.query["wait"])

    def note(self, case: Case[Any], response: Response) -> None:
        self._outcome.count(case.operation.label, response.status_code)
        if response.status_code == 201:
            made = response.json()
            name = f"{KINDS.get(made.get('object'), made.get('object'))}_id"
            if name in self._names:
                self._names[name] = [*self._names[name], str(made["id"])][-MOST_KNOWN:]


def _is_no_form(case: Case[Any]) -> bool:
    """Tell whether a form has more than texts and files: sent, all else would be one of them."""
    if case.media_type != "multipart/form-data" or not isinstance(case.body, dict):
        return False
    return not all(isinstance(value, str | bytes) for value in case.body.values())


def _is_no_text(query: dict[str, Any]) -> bool:
    """Tell whether metadata that is asked for looks like another type: in an address it is text."""
    return any(name.startswith("metadata[") and _is_json(value) for name, value in query.items())


def _is_json(value: object) -> bool:
    try:
        json.loads(str(value))
    except ValueError:
        return False
    return True


def _shortened(wait: object) -> object:
    """Make a wait that is allowed a short one, and leave others as wrong as they are."""
    try:
        seconds = float(str(wait))
    except ValueError:
        return wait
    return LONGEST_WAIT_SECONDS if LONGEST_WAIT_SECONDS < seconds <= ALLOWED_SECONDS else wait
