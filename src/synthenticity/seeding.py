"""Counter-based randomness: every stream is a function of (seed, split, number, purpose).

No generator is global and none is shared, so what one batch file holds cannot depend on what
else was made, in which order or by which process. Streams are Philox (Salmon et al. 2011),
keyed by the 128-bit xxh3 digest of the four parts: ten microseconds each.
"""

import numpy as np
import xxhash


def stream_key(seed: int, split: str, number: int, purpose: str) -> int:
    """Return the 128-bit key of a stream.

    >>> stream_key(1, "train", 0, "masks") == stream_key(1, "train", 0, "masks")
    True
    >>> stream_key(1, "train", 0, "masks") == stream_key(1, "val", 0, "masks")
    False
    """
    text = f"{seed}\x1f{split}\x1f{number}\x1f{purpose}"
    return xxhash.xxh3_128_intdigest(text.encode())


def numpy_rng(seed: int, split: str, number: int, purpose: str) -> np.random.Generator:
    """Return the numpy generator of a stream, at its start."""
    return np.random.Generator(np.random.Philox(key=stream_key(seed, split, number, purpose)))


def digest(*parts: bytes | str) -> str:
    """Return the hexadecimal xxh3-128 digest of the parts, in order and with their lengths."""
    state = xxhash.xxh3_128()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()
