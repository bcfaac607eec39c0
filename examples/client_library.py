"""Call a model server with this project's client, over REST or gRPC.

python examples/client_library.py [URL [MODEL [PUSHED_FOLDER]]]
"""

import sys

from modules.contract.errors import UserError
from serving.client import Client, ClientError


def main() -> None:
    """Classify two texts."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8501"
    model = sys.argv[2] if len(sys.argv) > 2 else "default"
    labels = sys.argv[3] if len(sys.argv) > 3 else None
    try:
        with Client(url, model=model, labels=labels, timeout=30) as client:
            for status in client.status():
                print(f"version {status.version} is {status.state.name}")
            # Any number of texts is sorted by length, split, and sent four requests at a time.
            texts = ["A good film.", "A bad hotel."]
            for text, prediction in zip(texts, client.predict(texts), strict=True):
                print(f"{prediction.label}\t{prediction.score:.4f}\t{text}")
                print(f"  {prediction.scores or prediction.raw_scores}")
            # A stream takes the same memory for a million texts as for a thousand.
            stream = (f"A good film, part {number}." for number in range(2000))
            best = max(prediction.score for prediction in client.predict_stream(stream))
            print(f"best of 2000: {best:.4f}")
    except (ClientError, UserError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
