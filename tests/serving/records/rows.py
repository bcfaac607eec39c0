"""Predictions to vote on."""

from typing import Any

from modules.contract.text_identity import text_identity
from serving.records.tables import OK, STABLE, PredictionRow


def prediction(
    request_id: str, text: str, position: int = 0, *, kept: bool = True, **values: Any
) -> PredictionRow:
    """Return a prediction of "pos" by version 1; ``values`` replace columns."""
    return PredictionRow(
        **{
            "id": f"{request_id}-{position}",
            "request_id": request_id,
            "position": position,
            "created": 100.0,
            "key_id": "caller",
            "model_version": 1,
            "role": STABLE,
            "status": OK,
            "latency_ms": 2.5,
            "label": "pos",
            "score": 0.75,
            "scores": {"neg": 0.25, "pos": 0.75},
            "text": text if kept else None,
            "text_identity": text_identity(text).hex(),
            "characters": len(text),
            **values,
        }
    )
