"""transformers' text-classification pipeline behind Flask, for the other sides' environment.

As in tutorials, it uses Flask's own threaded server and calls the pipeline once per request.
"""

import json
import logging
import sys

import torch
from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

OPTIONS = json.loads(sys.argv[1])
torch.manual_seed(0)
app = Flask(__name__)
classify = pipeline(
    "text-classification",
    model=AutoModelForSequenceClassification.from_pretrained(OPTIONS["folder"]).eval(),
    tokenizer=AutoTokenizer.from_pretrained(OPTIONS["folder"]),
    device="cpu",
)


@app.get("/readyz")
def ready() -> ResponseReturnValue:
    """Respond, as the model is loaded before the server starts."""
    return "ready\n"


@app.post("/predict")
def predict() -> ResponseReturnValue:
    """Classify the texts of ``{"instances": [...]}``."""
    texts = request.get_json()["instances"]
    answers = classify(texts, truncation=True, max_length=OPTIONS["max_length"])
    return jsonify({"predictions": answers})


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no log line per request
    app.run(host="127.0.0.1", port=OPTIONS["port"], threaded=True)
