"""An S3 server on this machine (moto's), between whose clients and itself anything may fail."""

import itertools
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

WHY = "the extra s3, or moto[server] of the extra test, is not installed"
s3fs = pytest.importorskip("s3fs", reason=WHY)
moto = pytest.importorskip("moto.server", reason=WHY)
werkzeug = pytest.importorskip("werkzeug.serving", reason=WHY)

BUCKETS = itertools.count()
"""Their numbers: all servers of a process share moto's one state."""
Environ = dict[str, Any]
Fault = Callable[[Environ], tuple[str, str] | None]
"""What happens in place of an answer; one that returns None lets the request pass."""


class _Quiet(werkzeug.WSGIRequestHandler):
    def log(self, *_said: Any) -> None:
        """Say nothing."""


def refusal(status: str, code: str) -> Fault:
    """Answer with an error, after the request was read."""

    def fault(environ: Environ) -> tuple[str, str]:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        return status, f"<Error><Code>{code}</Code><Message>{code} said</Message></Error>"

    return fault


def cut_connection(environ: Environ) -> None:
    """Read half of what comes, and end the connection."""
    half_read(environ)
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)


def half_read(environ: Environ) -> bytes:
    return bytes(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0) // 2))


class ObjectServer:
    """The server, its log, and the faults that wait for their requests."""

    def __init__(self) -> None:
        self._app = moto.DomainDispatcherApplication(moto.create_backend_app)
        self._faults: list[tuple[str, str, Fault]] = []
        self.log: list[tuple[str, str, int]] = []
        """Method, path and status of every answer."""
        self._server = werkzeug.make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def new_bucket(self) -> str:
        name = f"bucket{next(BUCKETS)}"
        self.files.mkdir(name)
        return name

    @property
    def files(self) -> Any:
        return s3fs.S3FileSystem(use_listings_cache=False)

    def fail(self, method: str, part: str, fault: Fault, *, times: int = 1) -> None:
        """Have the next requests of a method, with that in their path, meet a fault."""
        self._faults += [(method, part, fault)] * times

    @property
    def faults_left(self) -> int:
        return len(self._faults)

    def forget_faults(self) -> None:
        self._faults.clear()

    def puts(self, url: str) -> list[str]:
        """Return the names of the objects under a URL that were put, as often as that was done."""
        prefix = "/" + url.removeprefix("s3://") + "/"
        return sorted(
            path.removeprefix(prefix)
            for method, path, status in self.log
            if method == "PUT" and status == 200 and path.startswith(prefix)
        )

    def objects(self, url: str) -> dict[str, bytes]:
        """Return everything under a URL."""
        prefix = url.removeprefix("s3://") + "/"
        found = self.files.find(prefix)
        return {name.removeprefix(prefix): self.files.cat_file(name) for name in found}

    def _answer(self, environ: Environ, start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        waiting = (each for each in self._faults if each[0] == method and each[1] in path)
        fault = next(waiting, None)
        if fault is not None:
            self._faults.remove(fault)
            answer = fault[2](environ)
            if answer is None:
                raise ConnectionResetError
            self.log.append((method, path, int(answer[0][:3])))
            start(answer[0], [("Content-Type", "text/xml")])
            return [answer[1].encode()]

        def noted(status: str, headers: Any, *more: Any) -> Any:
            self.log.append((method, path, int(status[:3])))
            return start(status, headers, *more)

        return self._app(environ, noted)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def serving() -> Iterator[ObjectServer]:
    """Run a server that this process and its children take for S3; each request is made once."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ObjectServer()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        patch.setattr(s3fs.S3FileSystem, "retries", 1)
        s3fs.S3FileSystem.clear_instance_cache()
        yield server
        s3fs.S3FileSystem.clear_instance_cache()
    server.close()
