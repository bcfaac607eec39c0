"""When are two texts the same text? Standard library only.

Splitting and feedback both need one answer: a text that comes twice, with other capitals, other
white space or another Unicode spelling of the same letters, must land in the same split and count
as the same example. Anything that depends on this must use these functions, never the raw bytes.
"""

import hashlib
import unicodedata


def normalise(text: str) -> str:
    """Return the form under which texts are compared.

    Unicode compatibility composition (NFKC), full case folding, white space collapsed to single
    spaces and stripped. Folding can undo composition (Unicode Standard 3.13, R5), hence the second
    NFKC; the result is a fixed point: ``normalise(normalise(t)) == normalise(t)``.
    """
    composed = unicodedata.normalize("NFKC", text)
    folded = unicodedata.normalize("NFKC", composed.casefold())
    return " ".join(folded.split())


def text_identity(text: str) -> bytes:
    """Return the SHA-256 digest (32 bytes) of the normalised text, the same on every platform.

    Raises:
        UnicodeEncodeError: the text holds lone surrogates, so it is no Unicode text at all.
    """
    return hashlib.sha256(normalise(text).encode("utf-8")).digest()
