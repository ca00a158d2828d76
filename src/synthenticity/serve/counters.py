"""`Counters`: what the server counts of itself, for Prometheus. Each server has its own.

Names are a contract with dashboards: `synthenticity_*`. Labels are few and fixed: what a client
calls an address, or sends, is no label.
"""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Counters:
    """What is counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "synthenticity_requests",
            "Requests answered.",
            ["path", "status"],
            registry=self.registry,
        )
        self.seconds = self._histogram(
            "request_seconds", "From headers to answer.", LATENCY, "path"
        )
        self.batch_texts = self._histogram("batch_texts", "Texts of a batch.", SIZES)
        self.batch_requests = self._histogram("batch_requests", "Requests of a batch.", SIZES)
        self.batch_seconds = self._histogram("batch_seconds", "Scoring of a batch.", LATENCY)
        self.texts = self._counter("texts", "Texts scored.")
        self.characters = self._counter("characters", "Characters scored.")
        self.tokens = self._counter("tokens", "Tokens scored.")
        self.failures = self._counter("scoring_failures", "Texts that the scorer failed on.")

    def _counter(self, name: str, about: str) -> Counter:
        return Counter(f"synthenticity_{name}", about, registry=self.registry)

    def _histogram(
        self, name: str, about: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            f"synthenticity_{name}", about, labels, buckets=buckets, registry=self.registry
        )

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Have a value read whenever somebody asks."""
        Gauge(f"synthenticity_{name}", about, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """Return all counts as Prometheus reads them."""
        return generate_latest(self.registry)
