"""Teachers as clients bring them: weights in safetensors, without the engine that builds them."""

import copy
import json
import math
import struct
from typing import Any

from app.contracts.registration import NewModel
from app.services.weights import expected_tensors
from tests.unit.app.conftest import Api

Header = dict[str, dict[str, Any]]

DIGITS: dict[str, Any] = {
    "architecture": {"name": "mlp", "hidden_sizes": [4]},
    "signature": {"shape": [1, 8, 8], "output_names": list("0123456789")},
}
"""What fits the digits that ship with the service, but for where the weights are."""


def header_of(body: dict[str, Any]) -> Header:
    """Return the header of the weights that a body describes, one tensor behind the other."""
    header: Header = {}
    end = 0
    for name, form in expected_tensors(NewModel(**{**body, "weights": "file-1"})).items():
        start, end = end, end + math.prod(form.shape) * (4 if form.dtype == "F32" else 8)
        offsets = [start, end]
        header[name] = {"dtype": form.dtype, "shape": list(form.shape), "data_offsets": offsets}
    return header


def content_of(header: Header) -> bytes:
    """Return bytes for all tensors: ones in 32 bits, zeros of whole numbers."""
    return b"".join(
        (struct.pack("<f", 1.0) if one["dtype"] == "F32" else bytes(8)) * math.prod(one["shape"])
        for one in header.values()
    )


def packed(header: Header | bytes, content: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


def weights_of(body: dict[str, Any] = DIGITS) -> bytes:
    header = header_of(body)
    return packed(header, content_of(header))


def register(api: Api, weights: bytes | None = None, **changes: Any) -> Any:  # noqa: ANN401 (an answer)
    """Upload weights, right ones where none are given, and register them."""
    body = {**copy.deepcopy(DIGITS), **changes}
    file = api.upload(weights_of(body) if weights is None else weights, "model.safetensors")
    return api.client.post("/v1/models", json={**body, "weights": file["id"]})


def registered(api: Api, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 (a body's fields)
    answer = register(api, **changes)
    assert answer.status_code == 201, answer.text
    model: dict[str, Any] = answer.json()
    return model
