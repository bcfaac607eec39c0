"""Identity of texts. Standard library only.

Two texts that differ only in case, white space or the Unicode encoding of the same letters must
land in the same split and count as one example. Splitting and feedback therefore compare texts
with these functions, never by their raw bytes.
"""

import hashlib
import unicodedata


def normalise(text: str) -> str:
    """Return the form in which texts are compared.

    Applies Unicode compatibility composition (NFKC) and full case folding, and collapses and strips
    white space. NFKC is applied twice because folding can undo composition (Unicode Standard 3.13,
    R5). The function is idempotent: ``normalise(normalise(t)) == normalise(t)``.
    """
    composed = unicodedata.normalize("NFKC", text)
    folded = unicodedata.normalize("NFKC", composed.casefold())
    return " ".join(folded.split())


def text_identity(text: str) -> bytes:
    """Return the SHA-256 digest (32 bytes) of the normalised text, the same on every platform.

    Raises:
        UnicodeEncodeError: the text contains lone surrogates and is not valid Unicode.
    """
    return hashlib.sha256(normalise(text).encode("utf-8")).digest()
