"""The application: addresses, and around them who may ask, and what is noted of it.

There is no /docs: FastAPI's pages load their scripts from elsewhere. /openapi.json is complete.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from synthenticity.errors import ConfigError
from synthenticity.serve.addresses import Addresses
from synthenticity.serve.described import ABOUT, describe
from synthenticity.serve.key import RequireKey
from synthenticity.serve.problems import AsProblems, ProblemError
from synthenticity.serve.service import Service
from synthenticity.serve.watching import REQUEST_ID, Watch

DESCRIPTION = "/openapi.json"
GOOD_HOST = re.compile(r"\*|(\*\.)?[\w.-]+|\[?[0-9a-fA-F:.]+\]?")
GOOD_ORIGIN = re.compile(r"https?://[\w.-]+(:\d+)?|https?://\[[0-9a-fA-F:.]+\](:\d+)?")
REFUSALS = {
    400: "This server does not answer to the Host header, or to the Origin, of the request. See "
    "--allow-host and --cors of synthenticity serve.",
    404: f"Ask for /, /v1/score, /v1/model, {DESCRIPTION}, /healthz, /readyz or /metrics.",
    405: "See the Allow header for the methods of this address.",
    500: "The server failed; its log says where. Try again.",
}


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        key: which every request to /v1/ must bear; None lets everybody ask.
        hosts: names by which the server may be called; none allows all.
        origins: of web pages that may ask from a browser, beside the server's own.

    Raises:
        ConfigError: a host or an origin is none.

    """

    key: str | None = None
    hosts: Sequence[str] = ()
    origins: Sequence[str] = ()

    def __post_init__(self) -> None:
        for host in self.hosts:
            if not GOOD_HOST.fullmatch(host):
                raise ConfigError(f"--allow-host: {host!r} is no name of a host, without a port.")
        for origin in self.origins:
            if origin != "*" and not GOOD_ORIGIN.fullmatch(origin):
                raise ConfigError(
                    f"--cors: {origin!r} is no origin. Give one like https://example.org:8443."
                )


def build_application(service: Service, access: Access) -> ASGIApp:
    """Return the application that answers for a service."""
    api = FastAPI(
        title="Synthenticity",
        version=version("synthenticity"),
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url=DESCRIPTION,
        redirect_slashes=False,
    )
    api.add_exception_handler(ProblemError, _answer_problem)
    api.add_exception_handler(HTTPException, _answer_refusal)
    Addresses(service).add_to(api)
    describe(api, keyed=access.key is not None, named=bool(access.hosts))
    paths = frozenset({*api.openapi()["paths"], DESCRIPTION})
    return Watch(AsProblems(_guarded(api, access), REFUSALS), service.counters, paths)


def _guarded(app: ASGIApp, access: Access) -> ASGIApp:
    if access.key is not None:
        app = RequireKey(app, access.key)
    if access.hosts:
        app = TrustedHostMiddleware(app, list(access.hosts), www_redirect=False)
    if access.origins:
        app = CORSMiddleware(
            app,
            allow_origins=list(access.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", REQUEST_ID],
            expose_headers=["Retry-After", REQUEST_ID],
        )
    return app


async def _answer_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return error.response()


async def _answer_refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = REFUSALS.get(error.status_code, f"See {DESCRIPTION}.")
    return ProblemError(error.status_code, detail, error.headers).response()
