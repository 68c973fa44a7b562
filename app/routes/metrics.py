"""The API's figures for Prometheus."""

from typing import Annotated

from fastapi import APIRouter, Header
from prometheus_client.exposition import choose_encoder
from starlette.responses import Response

from app.access import Scraper, Service

router = APIRouter(tags=["Health"])


@router.get(
    "/metrics",
    summary="Give the figures for Prometheus",
    response_class=Response,
    responses={
        200: {
            "description": "In Prometheus' text format, or OpenMetrics where that is accepted.",
            "content": {"text/plain": {}, "application/openmetrics-text": {}},
        }
    },
)
def read_metrics(
    _caller: Scraper, service: Service, accept: Annotated[str, Header()] = ""
) -> Response:
    """Give this process's requests, and the jobs and workers of the whole installation."""
    encode, media_type = choose_encoder(accept)
    return Response(encode(service.metrics.registry), headers={"Content-Type": media_type})
