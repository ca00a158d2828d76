"""The page as a browser gets it, and the policy that keeps it from running anything else.

The policy names the page's one script and one style by their hashes, taken when the server starts:
a script or a style that came into the document from elsewhere, say from a text, is not run.
"""

import base64
import hashlib
import re
from importlib.resources import files

ELSE = (
    "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def load_page() -> bytes:
    """Return the page."""
    return files("synthenticity.serve").joinpath("page.html").read_bytes()


def page_policy(page: bytes) -> str:
    """Return the Content-Security-Policy of a page with one script and one style.

    >>> page_policy(b"<style></style><script></script>").split("; ")[0]
    "script-src 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
    """
    own = (f"{name}-src '{_hash_of(page, name)}'" for name in ("script", "style"))
    return "; ".join([*own, ELSE])


def _hash_of(page: bytes, name: str) -> str:
    tag = name.encode()
    (content,) = re.findall(b"<" + tag + b">(.*?)</" + tag + b">", page, re.DOTALL)
    return f"sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}"
