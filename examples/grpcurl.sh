#!/usr/bin/env bash
# Call a model server over gRPC with grpcurl. It needs the protocol's descriptors, because TensorFlow
# Serving does not support reflection and its Python packages do not include .proto files.
#   examples/grpcurl.sh [HOST:PORT [MODEL]]
# Exits with 77 if grpcurl or the Python packages are missing.
set -euo pipefail

address=${1:-127.0.0.1:8500}
model=${2:-default}
folder=$(dirname "$0")

if ! command -v grpcurl >/dev/null; then
  echo "skipped: grpcurl is not installed; see https://github.com/fullstorydev/grpcurl" >&2
  exit 77
fi

descriptors=$(mktemp)
trap 'rm -f "$descriptors"' EXIT
"${PYTHON:-python3}" "$folder/write_descriptors.py" "$descriptors"

# In JSON, bytes are base64: "A good film." and "A bad hotel.".
grpcurl -plaintext -max-time 30 -protoset "$descriptors" -d @ "$address" \
  tensorflow.serving.PredictionService/Predict <<JSON
{
  "modelSpec": {"name": "$model", "signatureName": "serving_default"},
  "inputs": {
    "text": {
      "dtype": "DT_STRING",
      "tensorShape": {"dim": [{"size": 2}]},
      "stringVal": ["QSBnb29kIGZpbG0u", "QSBiYWQgaG90ZWwu"]
    }
  }
}
JSON
