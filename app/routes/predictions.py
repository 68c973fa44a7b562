"""Models asked over HTTP."""

from fastapi import APIRouter

from app.access import ModelsReader, Service
from app.contracts.prediction import Prediction, Question
from app.services import predictions

router = APIRouter(prefix="/v1/models", tags=["Models"])


@router.post("/{model_id}/predict", summary="Ask a model")
def predict(model_id: str, body: Question, caller: ModelsReader, service: Service) -> Prediction:
    """Answer a few inputs by ONNX Runtime on the CPU; a student's teacher is asked beside it."""
    return predictions.predict(
        service.database,
        service.storage,
        service.predictor,
        caller.project_id,
        model_id,
        question=body,
    )
