"""Call a model server over REST with only httpx.

python examples/rest_client.py [URL [MODEL]]
"""

import sys

import httpx


def main() -> None:
    """Classify two texts."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8501"
    model = sys.argv[2] if len(sys.argv) > 2 else "default"
    texts = ["A good film.", "A bad hotel."]
    with httpx.Client(base_url=url, timeout=30) as client:
        response = client.post(f"/v1/models/{model}:predict", json={"inputs": {"text": texts}})
        if response.is_error:  # the body has the reason: {"error": "..."}
            sys.exit(f"{response.status_code}: {response.json()['error']}")
        outputs = response.json()["outputs"]
    for text, label, score in zip(texts, outputs["label"], outputs["score"], strict=True):
        print(f"{label}\t{score:.4f}\t{text}")


if __name__ == "__main__":
    main()
