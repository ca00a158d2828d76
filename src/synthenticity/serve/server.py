"""The server: an address, uvicorn with patience that ends, and a stop that leaves nothing undone.

Told to stop, it says 503 to new work, still answers /readyz, and ends as soon as what it has
accepted is answered.
"""

import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn

from synthenticity.errors import ConfigError
from synthenticity.serve.application import Access, build_application
from synthenticity.serve.key import KEY_VARIABLE
from synthenticity.serve.patience import patient_protocol
from synthenticity.serve.service import Service
from synthenticity.serve.watching import note_refused

IDLE_SECONDS = 15
"""A connection without a request stays open so long."""
LAST_SECONDS = 5
"""What is left when the server ends, such as answers being sent, is given so long."""
STOPPING = (signal.SIGINT, signal.SIGTERM)


def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket that has an address; port 0 takes a free one.

    Raises:
        ConfigError: there is no such host here, or the port is in use or not allowed.

    """
    if not 0 <= port <= 65535:
        raise ConfigError(f"--port: {port} is none of 0 to 65535.")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise ConfigError(
            f"--host: {host} is no address of this machine. Give 127.0.0.1."
        ) from None
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(1)  # of two that bind, only one may; the backlog is set later
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"--port: {port} of {host} cannot be used ({error.strerror}). Give another, "
            "or 0 for a free one."
        ) from None
    return listener


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine can reach a socket."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def check_open(listener: socket.socket, access: Access, *, allowed: bool) -> None:
    """Refuse to let a network ask without a key, unless that is allowed.

    Raises:
        ConfigError: it is not.

    """
    if not (is_loopback(listener) or access.key or allowed):
        raise ConfigError(
            f"--host: whoever reaches {listener.getsockname()[0]} could use the scorer. "
            f"Set a key in {KEY_VARIABLE}, or give --allow-open."
        )


class Server(uvicorn.Server):
    """uvicorn for a service; in the main thread, SIGINT and SIGTERM let it end well.

    Args:
        service: what is served; begins when the server listens.
        access: who may ask.
        on_listening: is called when requests are answered.

    """

    def __init__(
        self, service: Service, access: Access, on_listening: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                build_application(service, access),
                http=patient_protocol(
                    service.limits.max_connections, partial(note_refused, service.counters)
                ),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=IDLE_SECONDS,
                timeout_graceful_shutdown=LAST_SECONDS,
            )
        )
        self._service = service
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and begin to load the model."""
        await super().startup(sockets)
        self._service.worker.start()
        self._on_listening()

    async def on_tick(self, counter: int) -> bool:
        """Say whether to end."""
        self.should_exit = self.should_exit or self._service.may_stop()
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Within, a signal to stop makes the service drain; the second ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self._drain) for each in STOPPING}
        try:
            yield
        finally:
            for each, answer in before.items():
                signal.signal(each, answer)

    def _drain(self, _signal: int, _frame: Any) -> None:
        self._service.drain()


def serve_until_stopped(server: Server, service: Service, listener: socket.socket) -> bool:
    """Serve; return whether the scorer's thread has ended, too, when all is over.

    Raises:
        SynthenticityError: the model could not be loaded.

    """
    server.run([listener])
    ended = service.close(LAST_SECONDS)
    if service.worker.failure is not None:
        raise service.worker.failure
    return ended


def address_of(listener: socket.socket) -> str:
    """Return the address of the page, as a browser takes it."""
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
