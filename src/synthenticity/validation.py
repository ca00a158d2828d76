"""`validate`: the plan's four checks and two more, as a command and a function.

1. the filling model loads and predicts masked tokens better than chance;
2. targets recomputed from the token labels equal the stored ones, at several ratios;
3. every file obeys the schema and its identity;
4. ten training steps run and lower the loss;
5. the directory holds what it should and nothing else;
6. if asked for, some files made again are the same, byte for byte.

A damaged file fails the third check, and the others pass over it. A config is checked on data made
for the occasion in a temporary directory; a directory is checked as it is.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthenticity.config import Config
from synthenticity.config_file import load_config
from synthenticity.errors import BatchFileError, ConfigError, SynthenticityError
from synthenticity.remake import remake_files
from synthenticity.stream.audit import QUARANTINE, SPLITS, Audit, Finding, audit, repair_queue
from synthenticity.stream.batch_file import Columns
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.meta import LIVE, Meta
from synthenticity.stream.object_set import ObjectSet
from synthenticity.stream.object_store import is_url
from synthenticity.stream.status import described

TRAINING_STEPS = 10
CHECKED_MASK_SHARE = 0.15
CHECKED_WINDOWS = 64


@dataclass(frozen=True)
class Check:
    """One check: what it claims, whether that holds, and the figures it rests on."""

    name: str
    passed: bool
    detail: str


def validate(
    target: str | Path,
    config: Config | None = None,
    *,
    remake: int = 0,
    seed: int = 0,
    repair: bool = False,
) -> list[Check]:
    """Check a config file or a directory of batch files; a failed check is a result, no error.

    Args:
        target: the config file, the directory, or the URL of a set on an object store.
        config: the settings, in place of those of a config file.
        remake: make so many files of a directory again and compare them.
        seed: chooses these files.
        repair: remove from a directory what is left over, and quarantine what is damaged.

    Raises:
        SynthenticityError: the target cannot be checked at all (missing, not a config, ...).

    """
    if is_url(target):
        return validate_object_set(str(target), remake=remake, seed=seed, repair=repair)
    path = Path(target)
    if remake < 0 or seed < 0:
        raise ConfigError(f"remake: {remake} files and seed: {seed} must not be negative.")
    if path.is_dir():
        return validate_directory(path, remake=remake, seed=seed, repair=repair)
    if remake or repair:
        option = "repair" if repair else "remake"
        raise ConfigError(f"{option}: {path} is no directory. Give a directory of batch files.")
    return validate_config(config or load_config(path))


def validate_config(config: Config) -> list[Check]:
    """Make a little data as the config says and check it; nothing of the user's is touched."""
    from synthenticity.providers.prepare import prepare

    small = dataclasses.replace(config, batches_per_file=4)
    with tempfile.TemporaryDirectory(prefix="synthenticity-") as directory:
        prepare(small, directory, files=1)
        return validate_directory(Path(directory))


def validate_object_set(url: str, *, remake: int, seed: int, repair: bool) -> list[Check]:
    """Check a copy of all that is under a URL; the messages name the objects."""
    if repair:
        raise ConfigError(
            f"repair: {url} is on an object store, where nothing is moved or replaced. Remove what "
            "is damaged, and run prepare again."
        )
    stored = ObjectSet(url)
    with tempfile.TemporaryDirectory(prefix="synthenticity-") as directory:
        copy = Path(directory) / "set"
        stored.copy_to(copy)
        checks = validate_directory(copy, remake=remake, seed=seed)
    return [
        dataclasses.replace(check, detail=check.detail.replace(str(copy), stored.name))
        for check in checks
    ]


def validate_directory(
    directory: Path, *, remake: int = 0, seed: int = 0, repair: bool = False
) -> list[Check]:
    """Check the files of a directory, and train ten steps on them."""
    meta = described(BatchQueue(directory))
    config = load_config(directory / "config.toml")
    queue = BatchQueue(directory, commit=config.commit)
    repaired = _repaired(queue, meta) if repair else []
    found = audit(queue, meta)
    checks: list[tuple[str, bool, Callable[[], str]]] = [
        (
            "the filling model predicts better than chance",
            meta.task["dataset_name"] == "sequence_scorer",
            lambda: _check_mlm(config),
        ),
        (
            "targets equal those recomputed from the labels",
            "token_labels" in meta.schema.names(),
            lambda: _check_targets(queue, meta),
        ),
        (
            "files obey the schema and their identity",
            True,
            lambda: _check_files(queue, meta, found),
        ),
        (
            "ten training steps lower the loss",
            True,
            lambda: _check_training(config, queue, meta),
        ),
        (
            "the directory holds what it should and nothing else",
            True,
            lambda: _check_directory(queue, found),
        ),
        (
            "files made again are the same, byte for byte",
            remake > 0,
            lambda: _check_remake(config, queue, meta, remake, seed),
        ),
    ]
    return repaired + [_run(name, check) for name, applies, check in checks if applies]


def _repaired(queue: BatchQueue, meta: Meta) -> list[Check]:
    done = repair_queue(queue, meta)
    return [Check("what can be repaired is", True, _listed(done) or "nothing to repair")]


def _run(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except (_CheckFailedError, SynthenticityError) as error:
        return Check(name, False, str(error))


class _CheckFailedError(Exception):
    """A check did not hold."""


def _check_mlm(config: Config) -> str:
    """Compare top-1 accuracy at 15 % masking on the val pool with always the commonest token."""
    from synthenticity.providers.sequence_scorer import SequenceScorerProvider
    from synthenticity.recipe import Recipe
    from synthenticity.synthesis.filling import FilledDocument, Filler
    from synthenticity.text.reading import Document

    provider = SequenceScorerProvider(config)
    texts = provider.pools["val"].sample_windows(np.random.default_rng(0), CHECKED_WINDOWS).texts
    reports, good = [], True
    for model in provider.filler.models.values():
        recipe = Recipe(ratio=(CHECKED_MASK_SHARE, CHECKED_MASK_SHARE), temperature=0.0)
        filler = Filler({None: model}, (recipe,), seed=0)
        documents = [Document(str(number), text) for number, text in enumerate(texts)]
        restored, masked = 0, []
        for item in filler.fill(documents, [0] * len(documents)):
            if isinstance(item, FilledDocument):
                restored += int((item.token_labels == 1).sum())
                (tokens,) = model.spelling.tokenize([item.original])
                masked.append(tokens.ids[item.token_labels > 0])
        ids = np.concatenate(masked)
        accuracy, commonest = restored / len(ids), float(np.bincount(ids).max() / len(ids))
        good &= accuracy > commonest
        reports.append(
            f"{model.name}: top-1 accuracy {accuracy:.3f}, always the commonest token "
            f"{commonest:.3f}"
        )
    report = "; ".join(reports)
    if not good:
        raise _CheckFailedError(report)
    return report


def _check_targets(queue: BatchQueue, meta: Meta) -> str:
    from synthenticity.synthesis.synthetic_generation import fraction_labelled
    from synthenticity.text.tokenization import load_tokenizer

    worst, count, levels = 0.0, 0, set()
    has_texts = "text" in meta.schema.names()
    tokenizer = load_tokenizer(queue.directory / "tokenizer") if has_texts else None
    for path, columns in _all_files(queue, meta):
        true = fraction_labelled(columns["token_labels"], (1, 2))
        stored = columns["targets"]
        stored = 1 - stored if meta.task.get("target") == "authenticity" else stored
        errors = [np.abs(true - stored)]
        for name, which in {"synthenticity": (1, 2), "replaced_fraction": (2,)}.items():
            if name in columns:
                share = fraction_labelled(columns["token_labels"], which)
                errors.append(np.abs(share - columns[name]))
        _check_originals(path, columns)
        if tokenizer is not None:
            _check_texts(path, columns, tokenizer)
        worst = float(np.max([worst, *(error.max() for error in errors)]))  # NaN if any is
        count += len(true)
        levels |= set(np.floor(true * 10).astype(int).tolist())
    report = f"{count} sequences over {len(levels)} tenths of the range, largest error {worst:.1e}"
    if not worst <= 1e-6:
        raise _CheckFailedError(report)
    return report


def _check_originals(path: Path, columns: Columns) -> None:
    """Where the text before filling is stored, compare it with the text after."""
    if "original_ids" not in columns:
        return
    labels = columns["token_labels"]
    changed = columns["input_ids"] != columns["original_ids"]
    if (changed & ((labels == 0) | (labels == 1))).any():
        raise _CheckFailedError(
            f"{path}: a token labelled original or restored differs from its text"
        )
    if (~changed & (labels == 2)).any():
        raise _CheckFailedError(f"{path}: a token labelled replaced is that of the text")


def _check_texts(path: Path, columns: Columns, tokenizer: Any) -> None:
    """Read the text after filling again, and compare the ids."""
    from synthenticity.text.tokenization import encode_texts

    ids = columns["input_ids"][:, 1:]
    encodings = encode_texts(tokenizer, columns["text"].tolist())
    for row, encoding in zip(ids, encodings, strict=True):
        own = encoding.ids[: len(row)]
        if row[: len(own)].tolist() != own:
            raise _CheckFailedError(f"{path}: input_ids are not what the tokenizer makes of text")


def _check_files(queue: BatchQueue, meta: Meta, found: Audit) -> str:
    bad = [finding for finding in found.findings if finding.repair == QUARANTINE]
    if bad:
        raise _CheckFailedError(_listed(bad))
    if not found.files_verified and not (meta.kind == LIVE and queue.streaming()):
        raise _CheckFailedError("there are no files")
    return f"{found.files_verified} files read and verified"


def _check_directory(queue: BatchQueue, found: Audit) -> str:
    wrong = [finding for finding in found.findings if finding.repair != QUARANTINE]
    if wrong:
        raise _CheckFailedError(_listed(wrong))
    owner = queue.owner()
    return "a provider is at work" if owner is not None and owner.alive else "nothing else found"


def _listed(items: Sequence[str | Finding]) -> str:
    """Return one item as it is, several each on a line of its own."""
    lines = [str(item) for item in items]
    return lines[0] if len(lines) == 1 else "".join(f"\n     {line}" for line in lines)


def _check_remake(config: Config, queue: BatchQueue, meta: Meta, files: int, seed: int) -> str:
    made = remake_files(config, queue, meta, files=files, seed=seed)
    if made.differing:
        raise _CheckFailedError(
            f"{len(made.differing)} of {made.files} differ: {_listed(made.differing)}\n     "
            "Another machine, another number of threads or other versions of the libraries may "
            "round otherwise; this machine, with the same of each, must not."
        )
    if not made.files:
        raise _CheckFailedError("there are no files")
    return f"{made.files} files made again are the same, byte for byte"


def _all_files(queue: BatchQueue, meta: Meta) -> Iterator[tuple[Path, Columns]]:
    """Read the good files, one after the other; those consumed meanwhile are passed over."""
    for split in SPLITS:
        for number in queue.numbers(split):
            with suppress(BatchFileError, OSError):
                file = queue.look_at(split, number)
                if file is not None:
                    yield queue.path(split, number), file.columns


def _check_training(config: Config, queue: BatchQueue, meta: Meta) -> str:
    """Take ten steps on one batch, as training would, and compare the loss before and after."""
    import torch

    from synthenticity.text.tokenization import load_tokenizer
    from synthenticity.training.checks import TRAINING_TYPES
    from synthenticity.training.objective import tensor_batches
    from synthenticity.training.train import build_model

    modes = {value: key for key, value in TRAINING_TYPES.items()}
    mode = modes.get(meta.task["training_type"])
    if mode is None:
        kind = meta.task["training_type"]
        raise _CheckFailedError(
            f"no model of ours trains on {kind} data; {', '.join(modes)} it does"
        )
    _, columns = next(_all_files(queue, meta), (None, None))
    if columns is None:
        raise _CheckFailedError("there are no files to train on")
    config = dataclasses.replace(config, model_mode=str(mode), data_dir=str(queue.directory))
    torch.manual_seed(config.seed)
    tokenizer = load_tokenizer(queue.directory / "tokenizer")
    model, objective = build_model(config, meta, tokenizer, lambda text: None)
    batch = tensor_batches(columns, objective.columns, config.batch_size, model.device)[0]
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate)
    losses: list[float] = []
    model.train()
    for _ in range(TRAINING_STEPS + 1):
        loss: Any = objective.loss(model, batch)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    report = f"loss {losses[0]:.4f} before, {losses[-1]:.4f} after"
    if not losses[-1] < losses[0]:
        raise _CheckFailedError(report)
    return report
