#!/usr/bin/env bash
# Calls a model server over REST with curl: stock TensorFlow Serving or `bert serve`.
#   examples/curl.sh [URL [MODEL]]
set -euo pipefail

url=${1:-http://127.0.0.1:8501}
model=${2:-default}

call() {
  curl --fail-with-body --silent --show-error --write-out '\n' \
    --header 'content-type: application/json' "$@"
}

echo "# Which versions are there?"
call "$url/v1/models/$model"

echo "# Two texts, in rows: one object for each."
call -d '{"instances": ["A good film.", "A bad hotel."]}' \
  "$url/v1/models/$model:predict"

echo "# The same in columns: smaller, and faster to read for many texts."
call -d '{"signature_name": "serving_default", "inputs": {"text": ["A good film.", "A bad hotel."]}}' \
  "$url/v1/models/$model:predict"

# A version, or a label that models.txt gives one, goes into the path:
#   $url/v1/models/$model/versions/1:predict
#   $url/v1/models/$model/labels/stable:predict
