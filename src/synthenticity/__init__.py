"""Synthenticity says how much of a text a machine wrote, and which words.

The public names are below; each is imported when it is first used, so importing the package
costs nothing.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PLACES = {
    "CharDiffusionProvider": "providers.char_diffusion",
    "Document": "text.reading",
    "Recipe": "recipe",
    "Config": "config",
    "DataProviderBase": "providers.base",
    "DatasetConsumer": "stream.dataset_consumer",
    "MLMInferenceEngine": "synthesis.mlm_inference",
    "ModelMode": "training.model",
    "Scorer": "scoring.scorer",
    "TokenCritic": "scoring.critic",
    "SequenceScorerProvider": "providers.sequence_scorer",
    "add_cls_token": "synthesis.synthetic_generation",
    "apply_bert_style_corruption": "synthesis.masking",
    "create_synthetic_text": "synthesis.synthetic_generation",
    "fill": "records.fill",
    "load_config": "config_file",
    "load_filling_model": "synthesis.filling_model",
    "prepare": "providers.prepare",
    "read_batch_file": "stream.batch_file",
    "train": "training.train",
    "validate": "validation",
    **dict.fromkeys(
        (
            "BatchFileError",
            "CompatibilityError",
            "ConfigError",
            "CorpusError",
            "MissingExtraError",
            "ModelError",
            "ProviderTimeoutError",
            "QueueError",
            "QueueOwnedError",
            "SynthenticityError",
        ),
        "errors",
    ),
}

__all__ = sorted(_PLACES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
