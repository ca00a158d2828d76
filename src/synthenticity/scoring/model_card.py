"""The card of a scorer: Markdown made of measured facts, with the hub's metadata as its head.

What it was trained on is read from the run's own files, how good it is (measured_card.py) from what
`evaluate --out` wrote. Names of folders and paths of the machine are left out.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from synthenticity.data_card import TAGS
from synthenticity.errors import ModelError
from synthenticity.recipe import Recipe
from synthenticity.scoring.calibration import Calibration
from synthenticity.scoring.measured_card import Measured, Row
from synthenticity.training.sequence_scorer import SequenceScorerConfig

USE = """\
```bash
hf download {repo} --local-dir scorer
synthenticity score scorer document.txt
```

```python
from synthenticity import Scorer

Scorer.from_pretrained("scorer").score("To be, or not to be.").synthenticity
```"""
NOT_FOR = """\
- **Not proof.** A score is evidence about text like that of the training, rewritten by a filling \
model like those below. It says nothing of who wrote a text, or why.
- **No sanctions on people.** Nobody is to be accused, marked down, dismissed or refused anything \
by a score, however high: of many human texts some score high, and whose these are is no chance \
(other languages, dialects, genres and forms than those of the training).
- **Not for text unlike its training**: another language, alphabet, genre or period, other machine \
writers, paraphrases, or texts shorter than an eighth of a window, of which it abstains.
- **Not as a target.** A text that was changed until it scores low is no more human for it."""
LIMITS = """\
- The truth of the training is what one run of filling wrote. Text of the corpus that a machine \
had written before counts as human.
- What a filling model puts back as it was cannot be seen in a text by anybody; it counts as \
machine-written in `synthenticity`.
- A share below a tenth of a window can go unseen.
- Intervals hold for nine of ten texts like those of the training, and not for each kind of them."""


def model_card(
    run: Path,
    *,
    repo: str,
    evaluation: Row | None = None,
    calibration: Calibration | None = None,
    licence: str | None = None,
) -> str:
    """Return the card of a scorer as Markdown with its YAML head.

    Args:
        run: the scorer's folder.
        repo: its name on the hub.
        evaluation: what `synthenticity evaluate RUN DATA --out FILE.json` wrote of it.
        calibration: that goes with it.
        licence: of the weights, as the hub spells it, if it is known.

    Raises:
        ModelError: the run's files cannot be read.
        CompatibilityError: the evaluation is no evaluation, or one of other weights.

    """
    from synthenticity import __version__

    measured = Measured.of(evaluation, run)
    config = SequenceScorerConfig.from_pretrained(str(run))
    sections = {
        "Use": USE.format(repo=repo),
        "What it must not be used for": NOT_FOR,
        "How it was trained": _training(config, _read_json(run / "metrics.json")),
        **measured.sections(),
        **({} if calibration is None else {"Calibration": _calibration(calibration)}),
        "Limits": LIMITS,
    }
    parts = [_head(repo, measured, licence), f"# {repo.rpartition('/')[2]}", _about(config)]
    parts += [f"## {title}\n\n{text}" for title, text in sections.items()]
    return "\n\n".join([*parts, f"Card made by synthenticity {__version__}."]) + "\n"


def _about(config: SequenceScorerConfig) -> str:
    units = ", and which of its tokens" if config.head == "token" else " (not which words)"
    return (
        f"How much of a text a machine wrote{units}: a sequence scorer of synthenticity, whose "
        "values go from 0 (human) to 1 (machine-written)."
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path}: cannot be read ({error}). Give the --out_dir of a finished run."
        ) from None
    if not isinstance(content, dict):
        raise ModelError(f"{path}: is no JSON object. Give the --out_dir of a finished run.")
    return content


def _head(repo: str, measured: Measured, licence: str | None) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="text-classification",
            task_name="share of machine-written tokens",
            dataset_type="synthenticity",
            dataset_name=each.data,
            dataset_config=each.data,
            metric_type=each.kind,
            metric_name=each.name,
            metric_value=each.value,
        )
        for each in measured.results()
    ]
    data = ModelCardData(
        library_name="synthenticity",
        license=licence,
        tags=list(TAGS),
        metrics=["mae", "roc_auc"] if results else None,
        model_name=repo.rpartition("/")[2] if results else None,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml().strip()}\n---"


def _training(config: SequenceScorerConfig, facts: Row) -> str:
    made = facts.get("made_with", {})
    lines = [
        _encoder(config),
        f"- {facts.get('steps', 'an unknown number of')} iterations"
        + (f" of {made['batch_size']} sequences" if "batch_size" in made else ""),
        f"- data: provider `{made.get('dataset', 'unknown')}`, corpus "
        f"{str(made.get('corpus_hash', 'unknown'))[:12]} (digest of its texts)",
        *(
            f"- filling model {_model_name(name)}: fingerprint {each.get('fingerprint')}"
            for name, each in made.get("models", {}).items()
        ),
        *_recipes(made.get("recipes", ())),
    ]
    if config.replaced_share is not None:
        lines.append(f"- {config.replaced_share:.0%} of what was filled differs from the original")
    return "\n".join(lines)


def _encoder(config: SequenceScorerConfig) -> str:
    reads = [f"n-grams of {', '.join(map(str, config.ngram_sizes))}"] if config.ngram_sizes else []
    reads += ["likelihoods of a language model"] if config.likelihoods else []
    layers = config.encoder.get("num_hidden_layers", config.encoder.get("n_layers"))
    return (
        f"- encoder: {config.encoder.get('model_type')}, {layers} layers; head: {config.head}; "
        f"windows of {config.block_size} tokens, [CLS] counted"
        + (f"; reads {' and '.join(reads)} beside tokens" if reads else "")
    )


def _model_name(name: str) -> str:
    """Return the name of a model without the folder that it lies in.

    >>> _model_name("/home/me/mlm@5fd74fac053a")
    'mlm@5fd74fac053a'
    """
    return name.rpartition("/")[2]


def _recipes(given: Iterable[Row]) -> list[str]:
    """Return a line for each recipe, by its short name, which holds no path."""
    recipes = []
    for each in given:
        values: dict[str, Any] = {**each, "ratio": tuple(each.get("ratio", Recipe.ratio))}
        recipes.append(Recipe(**values))
    total = sum(recipe.weight for recipe in recipes) or 1.0
    return [f"- {recipe.weight / total:.0%} of it: recipe `{recipe.name}`" for recipe in recipes]


def _calibration(made: Calibration) -> str:
    """Return what the calibration that goes with the scorer was made of, without names."""
    human = made.about.get("human", {})
    lines = [
        f"- threshold {value:.4f}: at most {float(rate):.3g} of such human texts exceed it"
        + (f", {made.about['at_most'][rate]:.3g} 95 % sure" if "at_most" in made.about else "")
        for rate, value in made.thresholds.items()
    ]
    map_of = "with a map of the scores" if made.values else "without a map of the scores"
    count = f"{human['documents']:,}" if "documents" in human else "an unknown number of"
    return "\n".join([f"Thresholds of {count} human texts, {map_of}.", "", *lines])
