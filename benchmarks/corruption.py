"""Is a damaged batch file ever read as other data?

A file as the demo's provider makes it is damaged again and again, by one flipped bit or a cut at
a random place, and read each time, with the identity that the reader expects of it and without.
Read is the whole file, or the columns that a trainer of scorers takes; all of it and the identity
are compared with what was written.
"""

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import record
from demo_data import demo_provider

from synthenticity.errors import BatchFileError
from synthenticity.stream.batch_file import (
    BatchFile,
    Identity,
    encode_batch_file,
    read_batch_file,
)
from synthenticity.stream.meta import FINITE
from synthenticity.training.objective import ScorerObjective

FLIPS, FOOTER_FLIPS, CUTS = 10_000, 2_000, 2_000
MEMORY = Path("/dev/shm")
OUTCOMES = ("refused", "without effect", "silent")


def same(found: BatchFile, truth: BatchFile) -> bool:
    """Whether all that was read is as it was written."""
    return found.identity == truth.identity and all(
        values.dtype == truth.columns[name].dtype
        and values.shape == truth.columns[name].shape
        and (values == truth.columns[name]).all()
        for name, values in found.columns.items()
    )


def outcome(
    path: Path, truth: BatchFile, expected: Identity | None, columns: list[str] | None
) -> str:
    """Read a damaged file, and say what came of it."""
    try:
        found = read_batch_file(path, expected, columns=columns)
    except BatchFileError:
        return "refused"
    return "without effect" if same(found, truth) else "silent"


def flipped(content: bytes, place: int) -> bytes:
    """Return the content with one bit turned."""
    damaged = bytearray(content)
    damaged[place // 8] ^= 1 << place % 8
    return bytes(damaged)


def cut(content: bytes, length: int) -> bytes:
    """Return the beginning of the content."""
    return content[:length]


def demo_file(folder: Path) -> tuple[bytes, Identity]:
    """Return the bytes of the first train file of the demo's scorer data, and its identity."""
    _, provider = demo_provider(folder)
    meta = provider.meta(FINITE)
    identity = Identity(meta.fingerprint, "train", 0)
    return encode_batch_file(provider.make_file("train", 0), meta.schema, identity), identity


def main() -> None:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        folder, path = Path(name), Path(name) / "damaged.parquet"
        content, identity = demo_file(folder)
        path.write_bytes(content)
        truth = read_batch_file(path, identity)
        ways = (
            ("whole, as the queue does", identity, None),
            ("whole, its identity not given", None, None),
            ("the trainer's columns", identity, ScorerObjective.columns),
        )
        bits, footer = 8 * len(content), 8 * (int.from_bytes(content[-8:-4], "little") + 8)

        def damage(
            what: str, change: Callable[[bytes, int], bytes], places: np.ndarray
        ) -> list[dict[str, object]]:
            counts = [Counter[str]() for _ in ways]
            for place in places.tolist():
                path.write_bytes(change(content, place))
                for counted, (_, expected, columns) in zip(counts, ways, strict=True):
                    counted[outcome(path, truth, expected, columns)] += 1
            return [
                {"damage": what, "read": way, "cases": len(places)}
                | {key: counted[key] for key in OUTCOMES}
                for counted, (way, _, _) in zip(counts, ways, strict=True)
            ]

        rows = [
            *damage("one flipped bit", flipped, rng.choice(bits, FLIPS, replace=False)),
            *damage(
                "one flipped bit of the footer",
                flipped,
                bits - 1 - rng.choice(footer, FOOTER_FLIPS, replace=False),
            ),
            *damage("cut at a length", cut, rng.choice(len(content), CUTS, replace=False)),
        ]
    record.write(
        "corruption",
        title="Damaged batch files",
        command="python benchmarks/corruption.py",
        about=f"A train file of the demo's scorer data ({len(truth)} sequences of 257, "
        f"{len(content):,} bytes, {footer // 8:,} of them Parquet's footer with our metadata), "
        "damaged at random places and read. Refused: a `BatchFileError`. Without effect: the "
        "columns that were read and the identity are as written. Silent: anything else.",
        rows=rows,
    )


if __name__ == "__main__":
    main()
