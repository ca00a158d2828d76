"""Whether a folder holds a scorer, told from its `config.json` alone, before torch is imported."""

import json
from pathlib import Path

from synthenticity.errors import ModelError

SCORER_TYPE = "sequence_scorer"
"""The `model_type` of a scorer."""


def is_scorer(path: str | Path) -> bool:
    """Whether a folder holds a scorer (as against an MLM)."""
    try:
        content = json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("model_type") == SCORER_TYPE


def check_scorer(path: str | Path) -> None:
    """Refuse a folder that holds no scorer.

    Raises:
        ModelError: it holds none; says what to do.

    """
    if not Path(path).is_dir():
        raise ModelError(f"{path}: is no folder. Give the --out_dir of a sequence_scorer run.")
    if not (Path(path) / "config.json").is_file():
        raise ModelError(
            f"{path}: holds no trained scorer (no config.json). Train one with "
            "synthenticity train configs/sequence_scorer.toml --out_dir DIR"
        )
    if not is_scorer(path):
        raise ModelError(f"{path}: is not a scorer. Give the --out_dir of a sequence_scorer run.")
