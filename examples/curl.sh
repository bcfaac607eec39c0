#!/usr/bin/env bash
# Call a model server, `bert serve` or stock TensorFlow Serving, over REST with curl.
#   examples/curl.sh [URL [MODEL]]
set -euo pipefail

url=${1:-http://127.0.0.1:8501}
model=${2:-default}

call() {
  curl --fail-with-body --silent --show-error --write-out '\n' \
    --header 'content-type: application/json' "$@"
}

echo "# The available versions."
call "$url/v1/models/$model"

echo "# Two texts in row format, one object per text."
call -d '{"instances": ["A good film.", "A bad hotel."]}' \
  "$url/v1/models/$model:predict"

echo "# The same in columnar format, which is smaller and faster to parse for many texts."
call -d '{"signature_name": "serving_default", "inputs": {"text": ["A good film.", "A bad hotel."]}}' \
  "$url/v1/models/$model:predict"

# To select a version, or a label from models.txt, add it to the path:
#   $url/v1/models/$model/versions/1:predict
#   $url/v1/models/$model/labels/stable:predict
