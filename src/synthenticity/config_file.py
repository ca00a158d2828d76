"""From TOML files and options to a `Config`, and back.

A run is described by one flat file plus command-line overrides; defaults < file < command line.
Wrong keys and wrong values are all reported at once, with the file and a suggestion.
"""

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthenticity.config import SETTINGS, Config
from synthenticity.durable import write_whole
from synthenticity.errors import ConfigError
from synthenticity.recipe import Recipe
from synthenticity.settings import did_you_mean


def load_config(path: str | Path | None, overrides: Mapping[str, str] | None = None) -> Config:
    """Read a TOML file and apply command-line overrides (text; `-` and `_` alike in keys).

    Raises:
        ConfigError: naming the file, every unknown key with a suggestion, every wrong value.

    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    if path is not None:
        for key, raw in _read_toml(Path(path)).items():
            _take(key, raw, f"{path}: ", values, problems)
    for option, text in (overrides or {}).items():
        key = option.replace("-", "_")
        _take(key, _parse_override(key, text), f"--{option}: ", values, problems)
    given = {option.replace("-", "_"): f"--{option}: " for option in overrides or {}}
    try:
        config = Config(**values)
    except ConfigError as error:
        for line in str(error).splitlines():
            name, _, what = line.partition(":")
            place = f"{path}: " if path is not None else ""
            problems.append(f"{given[name]}{what.strip()}" if name in given else f"{place}{line}")
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such config file. Give a TOML file, for example configs/tiny.toml."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a config file: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}.") from None


def _take(key: str, raw: Any, where: str, values: dict[str, Any], problems: list[str]) -> None:
    """Convert one value into `values`, or note why not in `problems`."""
    if key not in SETTINGS:
        hint = did_you_mean(key, SETTINGS) or " See docs/configuration.md for the settings."
        problems.append(f"{where}unknown setting {key}.{hint}")
        return
    try:
        values[key] = _take_recipes(raw) if key == "recipes" else _convert(Config, key, raw)
    except ConfigError as error:
        problems.append(f"{where}{error}")


def _take_recipes(raw: Any) -> tuple[Recipe, ...]:
    if not isinstance(raw, list) or not all(isinstance(table, dict) for table in raw):
        raise ConfigError("recipes: must be [[recipes]] tables.")
    known = [field.name for field in dataclasses.fields(Recipe)]
    for table in raw:
        for key in table:
            if key not in known:
                raise ConfigError(f"recipes: unknown setting {key}.{did_you_mean(key, known)}")
    return tuple(
        Recipe(**{key: _convert(Recipe, key, value) for key, value in table.items()})
        for table in raw
    )


def _parse_override(key: str, text: str) -> Any:
    """Read a command-line value: TOML, Python's True/False/None, or a bare word."""
    wanted = SETTINGS[key].type if key in SETTINGS else None
    if wanted is str:
        return text
    if wanted == tuple[str, ...] and not text.lstrip().startswith("["):
        return [word.strip() for word in text.split(",") if word.strip()]
    lowered = text.strip().lower()
    if lowered in ("true", "false"):
        return lowered == "true"
    if lowered == "none":
        return None
    is_list = "," in text or wanted == tuple[int, ...]
    candidate = f"[{text}]" if is_list and not text.lstrip().startswith(("[", "(")) else text
    candidate = candidate.replace("(", "[").replace(")", "]")
    try:
        return tomllib.loads(f"value = {candidate}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _convert(owner: type, key: str, raw: Any) -> Any:
    """Check a raw TOML value against the type of a field of `owner`, and return it typed."""
    wanted = typing.get_type_hints(owner)[key]
    options = typing.get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)
    if raw is None and type(None) in options:
        return None
    for option in options:
        if option in (int, float) and isinstance(raw, bool):
            continue
        if option is float and isinstance(raw, int | float):
            return float(raw)
        if option in (int, str, bool) and isinstance(raw, option):
            return raw
        if typing.get_origin(option) is tuple and isinstance(raw, list | tuple):
            return _convert_list(key, raw, typing.get_args(option))
    names = " or ".join(_TYPE_NAMES.get(option) or _list_name(option) for option in options)
    raise ConfigError(f"{key}: must be {names}, got {raw!r}.")


_TYPE_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    type(None): "none",
}


def _list_name(option: Any) -> str:
    return "a list of words" if typing.get_args(option)[0] is str else "a list of numbers"


def _convert_list(key: str, raw: typing.Sequence[Any], item_types: Any) -> tuple[Any, ...]:
    if item_types[0] is str:
        if not all(isinstance(item, str) for item in raw):
            raise ConfigError(f"{key}: must be a list of words, got {list(raw)!r}.")
        return tuple(raw)
    wanted = None if Ellipsis in item_types else len(item_types)
    whole = item_types[0] is int
    kinds = int if whole else int | float
    good = all(isinstance(item, kinds) and not isinstance(item, bool) for item in raw)
    if not good or (wanted is not None and len(raw) != wanted):
        named = f"{wanted or 'some'} {'whole ' * whole}numbers"
        raise ConfigError(f"{key}: must be {named}, got {list(raw)!r}.")
    return tuple(item_types[0](item) for item in raw)


def to_mapping(config: Config) -> dict[str, Any]:
    """Return the settings as plain TOML values; unset ones are left out."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items() if item is not None}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    mapping: dict[str, Any] = plain(dataclasses.asdict(config))
    return mapping


def write_config(config: Config, path: Path) -> None:
    """Write the resolved settings as a TOML file that `load_config` reads back to the same."""
    import tomli_w

    mapping = to_mapping(config)
    if not mapping["recipes"]:
        del mapping["recipes"]
    write_whole(path, tomli_w.dumps(mapping))
