"""Pages for people: ``/`` to try the model, ``/docs`` for the HTTP API."""

import base64
import functools
import hashlib
import re
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse

from serving.gateway.docs_page import docs_html
from serving.gateway.openapi import document

router = APIRouter(include_in_schema=False)

_PAGE = Path(__file__).with_name("page.html")
_COMMON_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "connect-src 'self'; img-src data:"
)


@router.get("/")
async def page() -> HTMLResponse:
    """Serve the page to try a text, correct a prediction, and see what is deployed."""
    return _html(_page_text())


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Serve the list of routes; the whole document is at ``/openapi.json``."""
    return _html(docs_html(document(request.app)))


def _html(text: str) -> HTMLResponse:
    headers = {"content-security-policy": security_policy(text), "cache-control": "no-cache"}
    return HTMLResponse(text, headers=headers)


@functools.cache
def _page_text() -> str:
    return _PAGE.read_text("utf-8")


@functools.lru_cache(maxsize=4)
def security_policy(text: str) -> str:
    """Return a content security policy that allows only a page's own scripts and styles.

    Args:
        text: HTML; its ``<script>`` and ``<style>`` elements are allowed by digest.
    """
    policy = _COMMON_POLICY
    for element in ("script", "style"):
        found = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digests = " ".join(f"'sha256-{_digest(content)}'" for content in found) or "'none'"
        policy += f"; {element}-src {digests}"
    return policy


def _digest(content: str) -> str:
    return base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")
