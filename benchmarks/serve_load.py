"""What does `synthenticity serve` answer under load, and what do merged batches bring?

    python benchmarks/serve_load.py SCORER [--clients 200] [--seconds 60] [--rounds 1]

So many clients on this machine ask as fast as they are answered, one text a request, for so long:
of the server as it is, and of one that scores text by text (`--batch-texts 1`), in turns, with
texts of a paragraph and with texts of a line. Clients and server share the processors. Each answer
is compared with the first one for its text, which must be the same to the bit.
"""

import argparse
import asyncio
import contextlib
import json
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import record
from score import plays

KINDS = {"paragraphs (200 to 1,000 characters)": (200, 1000), "lines (20 to 100)": (20, 100)}
WAYS = {"merged batches": (), "one by one": ("--batch-texts", "1")}
DIFFERENT, START_SECONDS = 500, 120.0
WARMING_SECONDS = 30.0
"""Until batches of most shapes were seen: oneDNN keeps a kernel for each of 1,024."""


def cut_texts(low: int, high: int) -> list[str]:
    """Return different stretches of plays, of a character set that any scorer of them knows."""
    rng, documents = random.Random(0), plays()
    texts = []
    for _ in range(DIFFERENT):
        document, size = rng.choice(documents), rng.randint(low, high)
        first = rng.randrange(len(document) - size)
        texts.append(document[first : first + size])
    return texts


class RunningServer:
    """`synthenticity serve` in a process of its own; its log is thrown away."""

    def __init__(self, scorer: Path, options: tuple[str, ...]) -> None:
        command = [sys.executable, "-m", "synthenticity", "serve", str(scorer), "--port", "0"]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (as long as the process)
        self._process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        assert self._process.stdout is not None
        said = re.search(r"http://127\.0\.0\.1:(\d+)/", self._process.stdout.readline())
        if said is None:
            raise SystemExit("the server did not start; run synthenticity serve to see why")
        self.port = int(said[1])
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise SystemExit("the server was not ready in time")
            time.sleep(0.2)

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self._get("readyz"))
        return False

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def count(self, name: str) -> float:
        """Return a count of /metrics."""
        found = re.search(rf"^synthenticity_{name} (\S+)$", self._get("metrics"), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def megabytes(self) -> float:
        """Return what is resident."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024 / 1e6

    def stop(self) -> int:
        """Stop it as a user does; return its exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(60)
        finally:
            self._process.kill()
            self._log.close()


@contextlib.contextmanager
def running(scorer: Path, options: tuple[str, ...]) -> Iterator[RunningServer]:
    """Run a server within.

    Raises:
        SystemExit: it did not end well.

    """
    server = RunningServer(scorer, options)
    code = 1
    try:
        yield server
    finally:
        code = server.stop()
    if code:
        raise SystemExit(f"the server ended with exit code {code}")


@dataclass
class Load:
    """What clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    answers: dict[int, bytes] = field(default_factory=dict)
    differing: int = 0
    seconds: float = 0.0
    megabytes_between: float = 0.0

    async def run(
        self,
        server: RunningServer,
        requests: list[bytes],
        clients: int,
        seconds: float,
    ) -> None:
        """Let clients ask until the time is over and their last answer is there."""
        start = time.perf_counter()
        asking = [self._ask(server.port, requests, n, start + seconds) for n in range(clients)]
        await asyncio.gather(*asking, self._look(server, seconds / 2))
        self.seconds = time.perf_counter() - start

    async def _look(self, server: RunningServer, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.megabytes_between = server.megabytes()

    async def _ask(self, port: int, requests: list[bytes], number: int, end: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            number = (number + 7) % len(requests)
            asked = time.perf_counter()
            writer.write(requests[number])
            status, body = await _answer(reader)
            self.latencies.append(time.perf_counter() - asked)
            self.statuses[status] += 1
            if status == 200:
                self.differing += self.answers.setdefault(number, body) != body
            else:
                await asyncio.sleep(1)  # as Retry-After asks at least
        writer.close()
        await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    assert length is not None
    return int(head.split(b" ", 2)[1]), await reader.readexactly(int(length[1]))


def request_of(text: str) -> bytes:
    """Return a whole request."""
    body = json.dumps({"texts": [text]}).encode()
    head = "POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def measure(
    server: RunningServer, texts: list[str], clients: int, seconds: float
) -> dict[str, Any]:
    """Return what is measured of a server that has warmed up."""
    requests = [request_of(text) for text in texts]
    asyncio.run(Load().run(server, requests, clients, min(WARMING_SECONDS, seconds)))
    before, load = server.megabytes(), Load()
    names = ("batch_texts_sum", "batch_texts_count")
    counted = [server.count(name) for name in names]
    asyncio.run(load.run(server, requests, clients, seconds))
    scored, batches = (server.count(n) - c for n, c in zip(names, counted, strict=True))
    good, busy = load.statuses.pop(200, 0), load.statuses.pop(429, 0)
    by_time = sorted(load.latencies)
    return {
        "texts/s": round(good / load.seconds, 1),
        "texts a batch": round(scored / max(1, batches), 1),
        "answered": good,
        "429": busy,
        "other errors": sum(load.statuses.values()),
        "answers that differ": load.differing,
        "median s": round(statistics.median(by_time), 2),
        "95 % s": round(by_time[int(0.95 * len(by_time))], 2),
        "MB before": round(before),
        "MB at half": round(load.megabytes_between),
        "MB after": round(server.megabytes()),
    }


def rows_of(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure each kind of text each way, the ways in turns; the median round of each is a row."""
    rows = []
    for kind, (low, high) in KINDS.items():
        texts = cut_texts(low, high)
        found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way, given in WAYS.items():
                with running(options.scorer, given) as server:
                    found[way].append(measure(server, texts, options.clients, options.seconds))
        middle = {
            way: sorted(each, key=lambda row: row["texts/s"])[len(each) // 2]
            for way, each in found.items()
        }
        slow = middle["one by one"]["texts/s"]
        for way, row in middle.items():
            gain = round(row["texts/s"] / slow, 2)
            rows.append({"texts": kind, "way": way, "/ one by one": gain, **row})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scorer", type=Path)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--print", action="store_true", help="write no JSON")
    options = parser.parse_args()
    rows = rows_of(options)
    if options.print:
        print(json.dumps(rows, indent=2))
        return
    record.write(
        "serve_load",
        title="The server under load",
        command="python benchmarks/serve_load.py SCORER",
        about=f"{options.clients} clients on the server's own machine ask for the score of one "
        f"text a request, each as soon as it is answered, for {options.seconds:g} s; {DIFFERENT} "
        "different texts of Shakespeare's plays. One by one: `--batch-texts 1`. Memory is the "
        f"server's resident set after a warm-up of {min(WARMING_SECONDS, options.seconds):g} s, "
        "after half the time, and at the end.",
        rows=rows,
    )


if __name__ == "__main__":
    main()
