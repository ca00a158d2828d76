"""`Limits`: every bound of the server in one place, so that no client can take more than its share.

Memory and time are bounded by what may be in hand at once, whatever clients send and however slowly
they do it: with the defaults, 2 MiB a body, 256 requests and two million characters.
"""

import dataclasses
import math
from dataclasses import dataclass

from synthenticity.errors import ConfigError


@dataclass(frozen=True)
class Limits:
    """What a request may ask for, and how much the server takes on.

    Attributes:
        max_texts: Texts of a request.
        max_text_characters: Characters of a text. While one longer than a batch is scored, others
            wait; so this bounds how long.
        max_characters: Characters of all texts of a request.
        max_body_bytes: Bytes of a request's body.
        max_requests: Requests in hand: being read, waiting, being scored or answered. More get 429.
        max_characters_in_hand: Characters of all requests in hand. More get 429.
        max_connections: Open connections; more are closed with 503.
        body_seconds: A client must have sent its body in that time, and taken its answer.
        answer_seconds: A request that was not scored, and its answer written, in that time gets
            504.
        grace_seconds: When told to stop, the server finishes what it has accepted, for so long.
        batch_texts: Texts scored at once, of all requests together; 1 scores one after the other.
        batch_characters: Characters scored at once; a longer text is scored alone.
        batch_wait_ms: A batch that is not full waits so long for requests that are being read.

    Raises:
        ConfigError: one is not positive, or they contradict each other.

    """

    max_texts: int = 64
    max_text_characters: int = 100_000
    max_characters: int = 200_000
    max_body_bytes: int = 2**21
    max_requests: int = 256
    max_characters_in_hand: int = 2_000_000
    max_connections: int = 1000
    body_seconds: float = 20.0
    answer_seconds: float = 30.0
    grace_seconds: float = 30.0
    batch_texts: int = 256
    batch_characters: int = 16_384
    batch_wait_ms: float = 5.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            may_be_zero = field.name in {"batch_wait_ms", "grace_seconds"}
            if not (math.isfinite(value) and (value > 0 or (may_be_zero and value == 0))):
                raise ConfigError(f"--{_option(field.name)}: {value:g} is not positive.")
        _check_order(self, "max_text_characters", "max_characters")
        _check_order(self, "max_characters", "max_characters_in_hand")

    @property
    def most_read_bytes(self) -> int:
        """Bytes of all bodies that are read at the same time: 16 of the longest."""
        return 16 * self.max_body_bytes


def _check_order(limits: Limits, smaller: str, larger: str) -> None:
    if getattr(limits, smaller) > getattr(limits, larger):
        raise ConfigError(
            f"--{_option(smaller)}: {getattr(limits, smaller)} is more than --{_option(larger)}, "
            f"{getattr(limits, larger)}. Raise that, too."
        )


def _option(name: str) -> str:
    return name.replace("_", "-")
