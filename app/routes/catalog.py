"""What a spec may name: architectures, losses, data."""

from fastapi import APIRouter

from app.access import JobsReader
from app.contracts.catalog import Architecture, Dataset, Loss
from app.contracts.registry import Page
from app.services import catalog

router = APIRouter(prefix="/v1", tags=["Catalogue"])


@router.get("/architectures", summary="List the architectures")
def list_architectures(_caller: JobsReader) -> Page[Architecture]:
    """List what a teacher or student may be, with the schema of its settings; always whole."""
    return catalog.architectures()


@router.get("/losses", summary="List the losses")
def list_losses(_caller: JobsReader) -> Page[Loss]:
    """List what an objective may sum, with the schema of its settings; always whole."""
    return catalog.losses()


@router.get("/datasets", summary="List built-in data and formats")
def list_datasets(_caller: JobsReader) -> Page[Dataset]:
    """List the data that ships with the service, then the formats of uploaded files."""
    return catalog.datasets()
