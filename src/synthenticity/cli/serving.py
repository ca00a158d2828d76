"""The command that serves a scorer over HTTP: serve."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from synthenticity.cli.app import GOOD, app, quiet_libraries, share_processors
from synthenticity.errors import MissingExtraError
from synthenticity.serve.limits import Limits
from synthenticity.training.scorer_folder import check_scorer

EXTRA = {"fastapi", "prometheus_client", "pydantic", "starlette", "uvicorn"}
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
DEFAULTS = Limits()


@app.command
def serve(
    run: Annotated[Path, Parameter(help="The --out_dir of a sequence_scorer run.")],
    *,
    port: Annotated[int, Parameter(help="0 takes a free one.")] = 8000,
    host: Annotated[str, Parameter(help="Address to listen at; by default this machine's own.")] = (
        "127.0.0.1"
    ),
    allow_open: Annotated[
        bool, Parameter(negative="", help="Listen at another host without SYNTHENTICITY_API_KEY.")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        Parameter(
            help="Name by which clients call the server, say behind a proxy; several may be given.",
            negative="",
        ),
    ] = None,
    cors: Annotated[
        list[str] | None,
        Parameter(help="Origin whose web pages may ask; several may be given.", negative=""),
    ] = None,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Parameter(help="Arithmetic; auto is float32. bfloat16 is faster, and less exact."),
    ] = "auto",
    device: Annotated[str, Parameter(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    min_tokens: Annotated[
        int | None, Parameter(help="Of fewer the scorer abstains. Default: an eighth of a window.")
    ] = None,
    limits: Annotated[Limits, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Score over HTTP: a JSON interface, a page to try it on, metrics. Logs go to standard error.

    A key in the environment variable SYNTHENTICITY_API_KEY is asked for as Authorization: Bearer.
    """
    share_processors()
    try:
        from synthenticity.serve.application import Access
        from synthenticity.serve.key import key_of
        from synthenticity.serve.model import load_served_model
        from synthenticity.serve.server import (
            Server,
            address_of,
            check_open,
            is_loopback,
            open_socket,
            serve_until_stopped,
        )
        from synthenticity.serve.service import Service
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    with open_socket(host, port) as listener:
        names = list(allow_host or ())
        if is_loopback(listener):
            names += [*LOOPBACK_NAMES, host]
        access = Access(key_of(os.environ), names, cors or ())
        check_open(listener, access, allowed=allow_open)
        check_scorer(run)
        _log_as_json()
        with quiet_libraries():
            how: dict[str, Any] = {"device": device, "dtype": dtype, "min_tokens": min_tokens}
            service = Service(lambda: load_served_model(run, **how), limits)
            where = address_of(listener)
            server = Server(
                service, access, lambda: _say(f"Serving {run} at {where} (Ctrl-C stops)")
            )
            ended = serve_until_stopped(server, service, listener)
    if not ended:  # a batch is still being scored, for nobody; nothing could end it otherwise
        sys.stdout.flush()
        os._exit(GOOD)
    return GOOD


def _say(line: str) -> None:
    print(line, flush=True)


def _missing(error: ModuleNotFoundError) -> Exception:
    package = (error.name or "").split(".")[0]
    return MissingExtraError(package, "serve") if package in EXTRA else error


def _log_as_json() -> None:
    """Have every log written as JSON lines, the server's own from information on."""
    from synthenticity.serve.watching import JsonLines

    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[lines], force=True)
    logging.getLogger("synthenticity.serve").setLevel(logging.INFO)
