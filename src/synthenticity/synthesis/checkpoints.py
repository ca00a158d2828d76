"""Language models on disk: what a checkpoint must be, and where and how it is computed.

A folder or a hub id; by default safetensors only and no remote code. What it holds is looked at
before anything is loaded, so that a wrong one is refused in words.
"""

import dataclasses
import json
import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from synthenticity.config import SAFETENSORS
from synthenticity.errors import ConfigError, ModelError, model_loading
from synthenticity.synthesis.hub import cached_commit, hub_options, hub_problem
from synthenticity.text.tokenization import load_tokenizer

logger = logging.getLogger(__name__)

MASKED, CAUSAL = "a masked language model", "a left-to-right language model"
"""The two ways in which a language model writes."""
AUTO_CLASSES = {MASKED: "AutoModelForMaskedLM", CAUSAL: "AutoModelForCausalLM"}
ADVICE = (
    "Train one first, for example: synthenticity train configs/char_mlm.toml --out_dir runs/mlm"
)
OWN = ADVICE.replace("Train one first", "Or train one of your own")


POSITIONS_BEHIND_PADDING = (
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "luke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)
"""Kinds of models that count positions from behind the padding id, so not all are there to use."""


def context_length(config: Any) -> int:
    """Return how many tokens a model can read; models without a limit get a very large number."""
    places = int(getattr(config, "max_position_embeddings", None) or 2**31)
    if config.model_type in POSITIONS_BEHIND_PADDING:
        places -= int(config.pad_token_id) + 1
    return places


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was looked at, and what may be loaded of it: see `find_checkpoint`.

    `commit` is the hub's, None for a folder.
    """

    path: str
    config: Any
    commit: str | None
    revision: str | None
    weights: str
    remote_code: bool

    @cached_property
    def tokenizer(self) -> Any:
        """The fast tokenizer of the checkpoint."""
        return load_tokenizer(
            self.path, revision=self.commit or self.revision, remote_code=self.remote_code
        )

    @property
    def ways(self) -> set[str]:
        """Which of `MASKED` and `CAUSAL` it was trained as, or could be if it does not say."""
        names = {way: _class_names(self.config, way) for way in AUTO_CLASSES}
        own = set(self.config.architectures or ())
        trained = {way for way in names if names[way] & own}
        return trained or {way for way in names if names[way]}

    def require(self, way: str) -> None:
        """Raise a `ModelError` if it does not write that way."""
        if way in self.ways:
            return
        said = f"{self.path}: is a {self.config.model_type} model, not {way}"
        if not self.ways:
            raise ModelError(f"{said}. {ADVICE}")
        raise ModelError(
            f"{said}: it is {' and '.join(self.ways)}. Name it in mlm_checkpoint_path or in a "
            "recipe, or load it with load_filling_model."
        )

    def load_model(self, way: str) -> Any:
        """Load the model on the CPU, in float32.

        Raises:
            ModelError: it does not write that way, has no weights, or none for the LM head.

        """
        model, missing = self.load_weights(way)
        if missing:
            raise ModelError(
                f"{self.path}: is not {way}: the checkpoint lacks {_some(missing)}. Give a "
                "checkpoint with its LM head, or train one (docs/filling_models.md)."
            )
        return model

    def load_weights(self, way: str) -> tuple[Any, set[str]]:
        """Load what there is of the model, in float32, and return the names of what is missing."""
        import transformers

        self.require(way)
        with model_loading(self.path):
            model, info = getattr(transformers, AUTO_CLASSES[way]).from_pretrained(
                self.path,
                dtype=torch.float32,
                use_safetensors=True if self.weights == SAFETENSORS else None,
                output_loading_info=True,
                **hub_options(self.commit or self.revision, self.remote_code),
            )
        return model, set(info["missing_keys"])


def _class_names(config: Any, way: str) -> set[str]:
    """Return the names of the classes that load a config as a model of that way."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    mapping = {MASKED: MODEL_FOR_MASKED_LM_MAPPING, CAUSAL: MODEL_FOR_CAUSAL_LM_MAPPING}[way]
    remote = (getattr(config, "auto_map", None) or {}).get(AUTO_CLASSES[way])
    if remote is not None:
        return {str(remote).rpartition(".")[2]}
    found = mapping.get(type(config), ())
    return {each.__name__ for each in (found if isinstance(found, tuple) else (found,))}


def find_checkpoint(
    path: str | Path,
    *,
    revision: str | None = None,
    weights: str = SAFETENSORS,
    remote_code: bool = False,
) -> Checkpoint:
    """Look at a checkpoint, without loading its model.

    Args:
        path: a folder or hub id.
        revision: branch, tag or commit on the hub.
        weights: `safetensors`, or `any` to allow PyTorch's old format as well.
        remote_code: run the Python code that comes with the checkpoint.

    Raises:
        ConfigError: a revision of a folder.
        ModelError: there is none, or none that may be loaded.

    """
    folder = Path(path)
    is_local = folder.is_absolute() or str(path).startswith(".") or folder.exists()
    if is_local:
        _check_folder(folder, path, revision, weights, remote_code)
    else:
        logger.warning("%s: there is no such folder here; looking for it on the hub.", path)
    config = _load_config(str(path), is_local, revision, remote_code)
    commit = None if is_local else cached_commit(str(path), revision)
    return Checkpoint(str(path), config, commit, revision, weights, remote_code)


def _check_folder(
    folder: Path, path: str | Path, revision: str | None, weights: str, remote_code: bool
) -> None:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{path}: is not a model checkpoint (no config.json in it). {ADVICE}")
    if revision is not None:
        raise ConfigError(
            f"revision: {path} is a folder, and only models of the hub have revisions. "
            f"Leave {revision} out, or give the hub's id."
        )
    _check_model_type(folder, path, remote_code)
    old = sorted(folder.glob("pytorch_model*.bin"))
    if weights == SAFETENSORS and old and not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{path}: its weights are in PyTorch's old format ({old[0].name}), which can carry "
            f'code. Convert them: python -c "from transformers import AutoModelForMaskedLM as M; '
            f"M.from_pretrained('{path}').save_pretrained('NEW')\" (or AutoModelForCausalLM) and "
            'copy the tokenizer, or set model_weights = "any" if you trust where they come from.'
        )


def _check_model_type(folder: Path, path: str | Path, remote_code: bool) -> None:
    from transformers import CONFIG_MAPPING

    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    kind = content.get("model_type") if isinstance(content, dict) else None
    if kind is None or kind in CONFIG_MAPPING:
        return
    if "auto_map" not in content:
        raise ModelError(f"{path}: is a {kind} model, not {MASKED} nor {CAUSAL}. {ADVICE}")
    if not remote_code:
        raise _needs_code(path)


def _needs_code(path: str | Path) -> ModelError:
    return ModelError(
        f"{path}: needs Python code of its own, which is not run. Give a model that transformers "
        "knows, or set model_remote_code = true if you trust its author."
    )


def _load_config(path: str, is_local: bool, revision: str | None, remote_code: bool) -> Any:
    from transformers import AutoConfig

    try:
        with model_loading(path):
            return AutoConfig.from_pretrained(path, **hub_options(revision, remote_code))
    except ModelError as error:
        if "custom code" in str(error.__cause__):
            raise _needs_code(path) from None
        if is_local:
            raise
        raise ModelError(f"{path}: {hub_problem(path, error.__cause__)} {OWN}") from None


def load_mlm(path: str | Path) -> Any:
    """Load the model of a masked language model checkpoint, in float32 on the CPU.

    Raises:
        ModelError: no weights, or weights that lack the LM head.

    """
    return find_checkpoint(path).load_model(MASKED)


def load_mlm_to_train(path: str | Path) -> tuple[Any, bool]:
    """Load a model to train as a masked language model, and say whether its LM head is new.

    An encoder without an LM head gets one, tied to its embeddings; a pooler is left out.

    Raises:
        ModelError: no weights, or weights that lack part of the encoder or of the head.

    """
    model, missing = find_checkpoint(path).load_weights(MASKED)
    if not missing:
        return model, False
    encoder = f"{model.base_model_prefix}."
    embeddings = model.get_input_embeddings().weight
    own_head = {
        key
        for key, tensor in model.state_dict(keep_vars=True).items()
        if not key.startswith(encoder) and tensor is not embeddings
    }
    if missing != own_head:
        raise ModelError(
            f"{path}: is incomplete: the checkpoint lacks {_some(missing)}. Give one with its "
            "whole encoder, and with its whole LM head or none."
        )
    model.config.tie_word_embeddings = True
    model.tie_weights()
    return model, True


def _some(keys: set[str]) -> str:
    return ", ".join(sorted(keys)[:3])
