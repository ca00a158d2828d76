"""The API key: one secret for all of /v1/, given in the environment and compared in constant time.

It is never an option of the command line, which other users of a machine can see, and stands in no
message and no log.
"""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from synthenticity.errors import ConfigError
from synthenticity.serve.problems import ProblemError

KEY_VARIABLE = "SYNTHENTICITY_API_KEY"
KEPT = "/v1/"
GOOD_KEY = re.compile(r"[!-~]+")


def key_of(environment: Mapping[str, str]) -> str | None:
    """Return the key, or None if there is none.

    Raises:
        ConfigError: it cannot stand in a header.

    """
    key = environment.get(KEY_VARIABLE, "")
    if key and not GOOD_KEY.fullmatch(key):
        raise ConfigError(
            f"{KEY_VARIABLE}: holds a space, a line's end or a letter beyond ASCII. "
            "Give another key."
        )
    return key or None


@dataclass(frozen=True)
class RequireKey:
    """An application whose addresses under /v1/ ask for `Authorization: Bearer KEY`."""

    app: ASGIApp
    key: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["path"].startswith(KEPT) and not self._is_given(Headers(scope=scope)):
            refusal = ProblemError(
                401,
                f"Send Authorization: Bearer KEY, with the key of the server's {KEY_VARIABLE}.",
                {"WWW-Authenticate": "Bearer"},
            )
            await refusal.response()(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _is_given(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode("latin-1"), self.key.encode())
        return scheme.lower() == "bearer" and same
