"""Filling models on disk: what a checkpoint must be, and where and how it is computed.

A folder or a hub id; safetensors only, no remote code. What a folder holds is looked at before
anything is loaded, so that a wrong one is refused in words.
"""

import json
import logging
from pathlib import Path
from typing import Any

import torch

from synthenticity.errors import ConfigError, ModelError, model_loading
from synthenticity.text.tokenization import load_tokenizer

logger = logging.getLogger(__name__)


def resolve_device(device: str) -> torch.device:
    """Return a device by its name; `auto` stands for CUDA, then MPS, then CPU.

    Raises:
        ConfigError: there is no such device here.

    """
    there = {"cpu": True, "mps": torch.backends.mps.is_available()}
    there["cuda"] = torch.cuda.is_available()
    if device == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    kind, _, index = device.partition(":")
    known = there.get(kind, False) and (not index or index.isdigit())
    if not known or (kind == "cuda" and int(index or 0) >= torch.cuda.device_count()):
        names = ", ".join(kind for kind, is_there in there.items() if is_there)
        raise ConfigError(f"device: {device} is not there. This machine has {names}.")
    return torch.device(device)


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the dtype that `auto` stands for: bfloat16 on CUDA, else float32."""
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]


def context_length(config: Any) -> int:
    """Return how many tokens a model can read; models without a limit get a very large number."""
    return int(getattr(config, "max_position_embeddings", None) or 2**31)


def load_mlm_tokenizer(path: str | Path) -> Any:
    """Load the tokenizer of a masked language model after looking at what the folder holds.

    Raises:
        ModelError: the path does not exist, is no checkpoint, or its tokenizer cannot mask.

    """
    _check_checkpoint(path)
    tokenizer = load_tokenizer(path)
    if tokenizer.mask_token_id is None:
        raise ModelError(f"{path}: its tokenizer has no mask token. Give a masked language model.")
    return tokenizer


def _check_checkpoint(path: str | Path) -> None:
    from transformers import CONFIG_MAPPING, MODEL_FOR_MASKED_LM_MAPPING, AutoConfig

    folder = Path(path)
    looks_like_a_path = folder.is_absolute() or str(path).startswith(".") or folder.exists()
    advice = (
        "Train one first, for example: synthenticity train configs/char_mlm.toml --out_dir runs/mlm"
    )
    if looks_like_a_path and not (folder / "config.json").is_file():
        raise ModelError(f"{path}: is not a model checkpoint (no config.json in it). {advice}")
    kind = _model_type(folder)
    if kind is not None and kind not in CONFIG_MAPPING:
        raise ModelError(f"{path}: is a {kind} model, not a masked language model. {advice}")
    if not looks_like_a_path:
        logger.warning("%s: there is no such folder here; looking for it on the hub.", path)
    try:
        with model_loading(path):
            config = AutoConfig.from_pretrained(str(path), trust_remote_code=False)
    except ModelError as error:
        if looks_like_a_path:
            raise
        raise ModelError(
            f"{path}: there is no such folder, and no such model on the hub or in its cache "
            f"({error.__cause__}). {advice}".replace("\n", " ")
        ) from None
    if type(config) not in MODEL_FOR_MASKED_LM_MAPPING:
        raise ModelError(f"{path}: is a {config.model_type} model, not a masked language model.")


def _model_type(folder: Path) -> str | None:
    """Return what a local checkpoint says it is, or None."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content.get("model_type") if isinstance(content, dict) else None


def load_mlm(path: str | Path) -> Any:
    """Load the model of a masked language model checkpoint, in float32 on the CPU.

    Raises:
        ModelError: no weights, or weights that lack the LM head.

    """
    from transformers import AutoModelForMaskedLM

    with model_loading(path):
        model, info = AutoModelForMaskedLM.from_pretrained(
            str(path),
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise ModelError(
            f"{path}: is not a masked language model: the checkpoint lacks {missing}. "
            "Give a checkpoint with its LM head."
        )
    return model
