"""What is refused before a model is built: settings, data and checkpoints that do not fit.

Each check names both sides and what to do; none loads weights.
"""

import json
from pathlib import Path
from typing import Any

import xxhash
from transformers.integrations import get_available_reporting_integrations

from synthenticity.config import Config
from synthenticity.config_file import load_config, to_mapping
from synthenticity.errors import CompatibilityError, ConfigError
from synthenticity.runtimes.devices import resolve_device
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.stream.meta import LIVE, Meta
from synthenticity.stream.places import beside
from synthenticity.text.tokenization import load_tokenizer
from synthenticity.training.checkpoint_files import newest_checkpoint, verify_checkpoint
from synthenticity.training.model import (
    ModelMode,
    check_tokenizer,
    checkpoint_context_length,
    tokens_read_by,
)
from synthenticity.training.ranks import Ranks
from synthenticity.training.sharding import check_sharding

TRAINING_TYPES = {
    ModelMode.LANGUAGE_MODEL: "MLM",
    ModelMode.SEQUENCE_SCORER: "SEQUENCE_SCORING",
}
MAY_CHANGE = frozenset(
    {
        "data_dir",
        "dataloader_num_workers",
        "device",
        "eval_interval",
        "feature_cache_gb",
        "commit",
        "max_backlog_files",
        "max_iters",
        "report_to",
        "save_interval",
        "shard_model",
        "sleep_seconds",
        "wait_seconds",
    }
)
"""Settings that a continued run may change: they do not alter what has been learnt so far.

A larger `max_iters` stretches the schedule, so the learning rate rises again; training says so.
"""


def check_settings(config: Config, folder: Path) -> None:
    """Refuse settings that this machine or this directory cannot serve."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"out_dir: {folder} is a file. Give a directory.")
    if config.dtype == "int8":
        raise ConfigError(
            'dtype: int8 is for filling, and nothing is trained in it. Set dtype = "bfloat16" or '
            '"auto".'
        )
    device = resolve_device(config.device)
    if device.index:
        raise ConfigError(
            f"device: training takes the first device it sees, not {config.device}. Choose with "
            f"CUDA_VISIBLE_DEVICES={device.index} and device = {device.type!r}."
        )
    check_sharding(config)
    reports(config)


def reports(config: Config) -> list[str]:
    """Return where training reports to.

    Raises:
        ConfigError: the Trainer knows no such place, or its package is not installed.

    """
    names = [name.strip() for name in config.report_to.split(",") if name.strip() != "none"]
    there = get_available_reporting_integrations()
    for name in names:
        if name not in there:
            raise ConfigError(
                f"report_to: {name} is unknown or not installed. Here are: "
                f"{', '.join(sorted(there))}, none."
            )
    return names


def check_continuation(config: Config, folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the checkpoint to go on from; refuse to mix two runs in one directory."""
    newest = newest_checkpoint(folder)
    if newest is None:
        return None
    old, new = to_mapping(load_config(folder / "config.toml")), to_mapping(config)
    differing = [
        f"{key} is {old.get(key)!r} there and {new.get(key)!r} here"
        for key in sorted({*old, *new} - MAY_CHANGE)
        if old.get(key) != new.get(key)
    ]
    if differing:
        raise CompatibilityError(
            f"{folder}: holds a run with other settings: {'; '.join(differing)}. "
            "Use another --out_dir, or remove this one."
        )
    verify_checkpoint(*newest)
    return newest


def check_agreement(
    ranks: Ranks,
    folder: Path,
    resumed: tuple[Path, dict[str, Any]] | None,
    consumer: DatasetConsumer,
) -> None:
    """Wait until all processes have read what is there; refuse that they see different things.

    Folders on disks of their own nodes would make one process go on where another one begins, and
    they would wait for each other for ever.
    """
    step = resumed[1]["global_step"] if resumed else -1
    data = (consumer.meta.fingerprint, consumer.files, consumer.position)
    seen = ranks.of_each(step, _number_of(resumed and resumed[1]), _number_of(data))
    checkpoints = [
        "none" if step < 0 else f"iteration {step} ({number:016x})" for step, number, _ in seen
    ]
    contents = [f"{number:016x}" for _, _, number in seen]
    for setting, what, found in (
        ("out_dir", f"checkpoints in {folder}", checkpoints),
        ("data_dir", f"data in {consumer.queue.name}", contents),
    ):
        if len(set(found)) > 1:
            raise ConfigError(
                f"{setting}: the processes see different {what} ({_by_rank(found)}). "
                "Give a folder that all nodes share."
            )


def _number_of(content: Any) -> int:
    """Return 63 bits that tell apart what JSON holds."""
    return xxhash.xxh3_64_intdigest(json.dumps(content, sort_keys=True).encode()) >> 1


def _by_rank(found: list[str]) -> str:
    ranks: dict[str, list[str]] = {}
    for rank, what in enumerate(found):
        ranks.setdefault(what, []).append(str(rank))
    return "; ".join(f"rank {', '.join(which)}: {what}" for what, which in ranks.items())


def check_mode(config: Config, meta: Meta) -> None:
    """Refuse data of the wrong kind."""
    wanted = TRAINING_TYPES[ModelMode(config.model_mode)]
    found = meta.task.get("training_type")
    if found != wanted:
        raise CompatibilityError(
            f"model_mode: {config.model_mode} needs {wanted} data, {config.data_dir} holds "
            f"{found} data. Change model_mode or data_dir."
        )


def check_sizes(config: Config, meta: Meta, backlog: int) -> None:
    """Refuse data that the settings or the checkpoint to start from do not fit."""
    length = next(c.shape[0] for c in meta.schema.columns if c.name == "input_ids")
    if length != config.block_size:
        raise CompatibilityError(
            f"block_size: {config.block_size}, and the sequences in {config.data_dir} are "
            f"{length} tokens long. Set block_size = {length}, or use other data."
        )
    longest = {
        "init_from_checkpoint": checkpoint_context_length,
        "likelihood_model": tokens_read_by,
    }
    for name, tokens_of in longest.items():
        path = getattr(config, name)
        if not path:
            continue
        tokenizer = load_tokenizer(beside(config.data_dir) / "tokenizer")
        check_tokenizer(path, tokenizer, name)
        limit = tokens_of(path)
        if length > limit:
            raise CompatibilityError(
                f"block_size: the sequences in {config.data_dir} are {length} tokens long, the "
                f"model of {path} reads {limit}. Make shorter data, or train the MLM with a "
                "larger block_size."
            )
    per_step = config.batch_size * config.gradient_accumulation_steps
    if meta.kind == LIVE and per_step > (backlog - 1) * meta.rows_per_file:
        raise ConfigError(
            f"batch_size: an iteration takes {per_step} sequences, the backlog holds "
            f"{backlog} files of {meta.rows_per_file}, one of them in use. "
            "Raise max_backlog_files or batches_per_file."
        )
