"""A scorer as a stock class of transformers: loaded and run without a line of ours.

`AutoModelForTokenClassification` says each token's probability,
`AutoModelForSequenceClassification` the synthenticity of a `head = "cls"` scorer, both to 1e-5.
What such classes cannot express is refused: no channels, since they read ids alone, and no mean
over tokens. Each export is compared with its scorer before it is written.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from synthenticity.errors import ModelError
from synthenticity.scoring.export_folder import new_folder
from synthenticity.scoring.framing import framed_tokenizer
from synthenticity.scoring.stock_heads import Floats, find_head, is_line, set_head
from synthenticity.scoring.trial_windows import trial_windows
from synthenticity.text.tokenization import load_tokenizer
from synthenticity.training.model import load_scorer
from synthenticity.training.sequence_scorer import SequenceScorer, mapped_logit

TOKENS, TEXTS = "token-classification", "sequence-classification"
CLASSES = {TOKENS: "AutoModelForTokenClassification", TEXTS: "AutoModelForSequenceClassification"}
LABELS = {TOKENS: ("human", "machine"), TEXTS: ("synthenticity",)}
TOLERANCE = 1e-5
"""By which a probability of an export may differ from the scorer's."""
TRIAL_ROWS, TRIAL_LENGTH = 6, 64
PAGE = """\
# {name}

A scorer of synthenticity {version} as a stock model of transformers. In this folder:

```python
{usage}
```

{meaning} A text is read up to {length} tokens, [CLS] counted; what is beyond is cut off. \
Probabilities are those of the scorer before any calibration, within 1e-5. A score is evidence, \
not proof.
"""
USAGE = {
    TOKENS: """\
from transformers import pipeline

say = pipeline("token-classification", ".")
for token in say("To be, or not to be."):
    said = token["score"]  # of the likelier label
    print(token["word"], said if token["entity"] == "machine" else 1 - said)""",
    TEXTS: """\
from transformers import pipeline

say = pipeline("text-classification", ".")
print(say("To be, or not to be.", truncation=True))""",
}
MEANING = {
    TOKENS: "Label 1, `machine`, has the probability that a token is machine-written.",
    TEXTS: "The score of the one label is the synthenticity: the share of machine-written tokens, "
    "no probability of a verdict.",
}


def export_stock(run: str | Path, kind: str, folder: Path) -> None:
    """Write a scorer as a stock checkpoint of transformers.

    Args:
        run: the scorer's folder.
        kind: `token-classification` or `sequence-classification`.
        folder: a new one.

    Raises:
        ModelError: there is no scorer, or a stock class cannot express it; says what to do.
        ConfigError: the folder holds something.

    """
    from synthenticity import __version__

    scorer, tokenizer = load_scorer(run), load_tokenizer(run)
    with new_folder(folder) as place:
        model = stock_model(scorer, kind, run)
        model.save_pretrained(place)
        framed_tokenizer(tokenizer, int(scorer.config.block_size)).save_pretrained(str(place))
        page = PAGE.format(
            name=folder.name,
            version=__version__,
            usage=USAGE[kind],
            meaning=MEANING[kind],
            length=scorer.config.block_size,
        )
        (place / "README.md").write_text(page, encoding="utf-8")


def stock_model(scorer: SequenceScorer, kind: str, run: str | Path = "scorer") -> Any:
    """Return a stock model of transformers that says what a scorer does; `run` names it in errors.

    Raises:
        ModelError: a stock class cannot express it; says what to do.

    """
    _check_expressible(scorer, kind, run)
    source = scorer.cls_head if scorer.token_head is None else scorer.token_head
    model, meaning = _empty(scorer, kind, run), _meaning(scorer, kind)
    head = find_head(model, scorer.encoder)
    if head is None:
        raise ModelError(
            f"{run}: the {kind} class of {model.config.model_type} has a head of a kind that is "
            "not known here. Export to onnx."
        )
    try:
        set_head(model, head, source, meaning)
    except ModelError as error:
        raise ModelError(f"{run}: as {kind}, {error}") from None
    _compare(scorer, model, kind, run)
    return model


def _check_expressible(scorer: SequenceScorer, kind: str, run: str | Path) -> None:
    config = scorer.config
    if scorer.enriched is not None:
        what = "n-grams (ngram_sizes)" if config.ngram_sizes else "likelihoods (likelihood_model)"
        raise ModelError(
            f"{run}: reads {what}, which no stock class of transformers does. Export to onnx, or "
            "train with ngram_sizes = [] and without likelihood_model."
        )
    if kind == TEXTS and scorer.token_head is not None:
        raise ModelError(
            f"{run}: its synthenticity is the mean over tokens, which no sequence classifier of "
            "transformers computes. Export to token-classification or onnx, or train with "
            'head = "cls".'
        )
    if kind == TOKENS and scorer.token_head is None:
        raise ModelError(
            f'{run}: has no token head (head = "cls"). Export to sequence-classification or onnx.'
        )


def _empty(scorer: SequenceScorer, kind: str, run: str | Path) -> Any:
    """Return a stock model with the scorer's encoder, its head not yet set."""
    import transformers

    config = copy.deepcopy(scorer.encoder.config)
    config.name_or_path, config.architectures = "", None
    config.id2label = dict(enumerate(LABELS[kind]))
    config.label2id = {label: number for number, label in config.id2label.items()}
    wanted: dict[str, Any] = {"classifier_bias": True, "classifier_pooling": "cls"}
    if is_line(_meaning(scorer, kind)):
        wanted["classifier_activation"] = "linear"
    for name, value in wanted.items():
        if hasattr(config, name):
            setattr(config, name, value)
    try:
        model = getattr(transformers, CLASSES[kind]).from_config(config).eval()
        found = model.base_model.load_state_dict(scorer.encoder.state_dict(), strict=False)
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"{run}: transformers has no {kind} class for {config.model_type}, or another encoder "
            "in it. Export to onnx."
        ) from error
    assert not found.unexpected_keys
    return model


def _meaning(scorer: SequenceScorer, kind: str) -> Callable[[Floats], Floats]:
    """Return what the logits of a head mean: those of a token themselves, a text's by the map."""
    if kind == TOKENS:
        return lambda logits: logits
    return lambda logits: mapped_logit(torch.from_numpy(logits), scorer.config.ratio_map).numpy()


@torch.no_grad()
def _compare(scorer: SequenceScorer, model: nn.Module, kind: str, run: str | Path) -> None:
    """Raise a `ModelError` if a stock model says something else of made-up texts, some padded."""
    inputs, visible = trial_windows(scorer, TRIAL_ROWS, TRIAL_LENGTH)
    said = scorer(inputs, visible)
    logits = model(input_ids=inputs, attention_mask=visible).logits
    if kind == TOKENS:
        worst = _difference(said.token_logits.sigmoid(), logits.softmax(-1)[..., 1], visible == 1)
    else:
        worst = _difference(said.synthenticity, logits[:, 0].sigmoid(), visible[:, 0] == 1)
    if not worst <= TOLERANCE:
        raise ModelError(
            f"{run}: the {kind} class of transformers says other probabilities (by {worst:.1g}). "
            "Export to onnx."
        )


def _difference(ours: Tensor, theirs: Tensor, some: Tensor) -> float:
    return float((ours - theirs)[some].abs().max())
