"""Some files of a directory made again, and compared byte for byte.

A batch file is a function of its settings and its number, so whoever has a directory, its corpus
and its filling model can test the claim on any file. On the same machine and with as many
threads, the bytes are the same; another machine may round differently, and then write another
token here and there, which is why differing values are counted.
"""

from dataclasses import dataclass

import numpy as np

from synthenticity.config import Config
from synthenticity.errors import BatchFileError, CompatibilityError
from synthenticity.providers.base import find_provider
from synthenticity.seeding import numpy_rng
from synthenticity.stream.audit import SPLITS
from synthenticity.stream.batch_file import Columns, encode_batch_file
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.meta import Meta


@dataclass(frozen=True)
class Remade:
    """How many files were made again, and a sentence for each that differs."""

    files: int
    differing: list[str]


def remake_files(config: Config, queue: BatchQueue, meta: Meta, *, files: int, seed: int) -> Remade:
    """Make some files again and compare them; those consumed meanwhile are passed over.

    Args:
        config: the settings that the directory was made with.
        queue: the directory.
        meta: what its `meta.json` says.
        files: how many, drawn from all splits; fewer if there are fewer.
        seed: of the draw.

    Raises:
        CompatibilityError: corpus, filling model or settings are others by now (which).

    """
    provider = find_provider(config.dataset)(config)
    differing = meta.differences(provider.meta(meta.kind))
    if differing:
        raise CompatibilityError(
            f"{queue.directory}: cannot be made again from what is there now: "
            f"{'; '.join(differing)}."
        )
    there = [(split, number) for split in SPLITS for number in queue.numbers(split)]
    order = numpy_rng(seed, "", 0, "files to remake").permutation(len(there))
    made, unequal = 0, list[str]()
    for split, number in (there[index] for index in order):
        if made == files:
            break
        try:
            file, content = queue.look_at(split, number), queue.path(split, number).read_bytes()
        except (BatchFileError, OSError):
            continue  # consumed; or damaged, which is another check's business
        if file is None:
            continue
        made += 1
        columns = provider.make_file(split, number)
        if encode_batch_file(columns, meta.schema, file.identity) != content:
            where = queue.path(split, number)
            unequal.append(f"{where}: {_difference(file.columns, columns)}")
    return Remade(made, unequal)


def _difference(there: Columns, made: Columns) -> str:
    """Count the values that differ, column by column."""
    counts: dict[str, int] = {}
    for name, values in there.items():
        again = np.asarray(made[name]).astype(values.dtype)
        if again.shape != values.shape:
            return f"{name} is of shape {values.shape}, made again {again.shape}"
        same = (again == values) | ((again != again) & (values != values))  # noqa: PLR0124 (NaN)
        counts[name] = int(np.size(same) - np.count_nonzero(same))
    differ = [f"{n} of {there[name].size} values of {name}" for name, n in counts.items() if n]
    return f"{', '.join(differ)} differ" if differ else "the same values, in other bytes"
