"""`fill` and `explore`: some documents through the filling models, into records in memory."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from synthenticity.config import SETTINGS, Config
from synthenticity.errors import ConfigError, CorpusError
from synthenticity.records.table import to_records
from synthenticity.settings import did_you_mean
from synthenticity.synthesis.filling import FilledDocument, Filler
from synthenticity.text.reading import (
    CorpusSource,
    Document,
    Rejected,
    check_document,
    read_documents,
)

logger = logging.getLogger(__name__)

DEFAULT_RATIO = 0.3


def fill(
    texts: Iterable[str | Document],
    *,
    model: Any,
    ratio: float | Sequence[float] | None = None,
    seed: int = Config.seed,
    copies: int = 1,
    batch_size: int = 64,
    on_rejected: Callable[[Rejected], None] | None = None,
    **settings: Any,
) -> list[dict[str, Any]]:
    """Let a model rewrite parts of texts, and return a record of each, with the exact truth.

    The record of a text depends on its id, the seed and the settings: not on the other texts,
    their order or the batch size. The same call on the command line is `synthenticity fill`.

    Args:
        texts: strings, whose ids are "0", "1", ...; or documents with ids of their own.
        model: folder or hub id of a masked (or left-to-right) language model, or a loaded one.
        ratio: share of the tokens to fill, or the range it is drawn from for each text; 0.3
            unless there are `recipes`.
        seed: with the ids, the only source of randomness.
        copies: records of each text.
        batch_size: windows of a model call.
        on_rejected: called for each text that cannot be used; without it, the first one raises.
        settings: any other of the masking and filling settings, `pattern` or `recipes`, say.

    Raises:
        CorpusError: a text cannot be used; says which and why.
        ConfigError: a setting is wrong.
        ModelError: the model cannot be loaded.

    """
    if isinstance(texts, str):
        raise ConfigError("texts: is one string. Give a list of texts.")
    if copies < 1 or batch_size < 1:
        raise ConfigError("copies, batch_size: each must be at least 1.")
    config = config_of(model, ratio, seed=seed, **settings)
    documents = [
        text if isinstance(text, Document) else Document(str(number), text)
        for number, text in enumerate(texts)
    ]
    reject = on_rejected or _raise
    usable = []
    for document in documents:
        if not isinstance(document.text, str):
            kind = type(document.text).__name__
            reject(Rejected(document.id, "", f"is of the type {kind}, not text"))
            continue
        found = check_document(document)
        if isinstance(found, str):
            reject(Rejected(document.id, "", found))
        else:
            usable.append(found)
    _check_ids(usable)
    filler = Filler.from_config(config, batch_size=batch_size, engine=_engine_in(model))
    results = filler.fill(
        [document for document in usable for _ in range(copies)],
        list(range(copies)) * len(usable),
    )
    for result in dict.fromkeys(item for item in results if isinstance(item, Rejected)):
        reject(result)
    return to_records([item for item in results if isinstance(item, FilledDocument)])


def config_of(model: Any, ratio: float | Sequence[float] | None, **settings: Any) -> Config:
    """Return the settings of a call of `fill`."""
    if ratio is not None and settings.get("recipes"):
        raise ConfigError("ratio: has no effect beside recipes. Drop one of the two.")
    if ratio is None:
        ratio = DEFAULT_RATIO
    low, high = (ratio, ratio) if isinstance(ratio, int | float) else ratio
    unknown = next((name for name in settings if name not in SETTINGS), None)
    if unknown is not None:
        raise ConfigError(f"fill: unknown setting {unknown}.{did_you_mean(unknown, SETTINGS)}")
    if _engine_in(model) is None:
        settings["mlm_checkpoint_path"] = str(model)
    if not settings.get("recipes"):
        settings["mask_probability_range"] = (float(low), float(high))
    return Config(**settings)


def _engine_in(model: Any) -> Any:
    return None if isinstance(model, str | Path) else model


def _raise(rejected: Rejected) -> None:
    raise CorpusError(
        f"text {rejected.id}: {rejected.reason}. Leave it out, or give on_rejected to go on."
    )


def _check_ids(documents: Sequence[Document]) -> None:
    counts = Counter(document.id for document in documents)
    double = next((name for name, count in counts.items() if count > 1), None)
    if double is not None:
        raise CorpusError(f"id {double}: two texts have it. Give each its own.")


def explore(config: Config, count: int, *, batch_size: int = 64) -> list[dict[str, Any]]:
    """Return the records of the first `count` documents, and write nothing."""
    if count < 1:
        raise ConfigError(f"explore: {count} is not a positive number of documents.")
    source = CorpusSource.from_config(config)
    documents = list(islice(read_documents(source, on_rejected=_warn), count))
    _check_ids(documents)
    filler = Filler.from_config(config, batch_size=batch_size)
    results = filler.fill(documents, [0] * len(documents))
    for result in results:
        if isinstance(result, Rejected):
            _warn(result)
    return to_records([item for item in results if isinstance(item, FilledDocument)])


def _warn(rejected: Rejected) -> None:
    logger.warning("%s: cannot be used: %s", rejected.id, rejected.reason)
