"""The card of a scorer: Markdown made of measured facts, with the hub's metadata as its head.

Every figure is read from the run's own files and from what `evaluate --out` wrote, and stands with
its interval and beside baselines. Names of folders and paths of the machine are left out. What was
not measured is said not to have been.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from synthenticity.data_card import TAGS
from synthenticity.errors import CompatibilityError, ModelError
from synthenticity.recipe import Recipe
from synthenticity.scoring.calibration import Calibration
from synthenticity.training.sequence_scorer import SequenceScorerConfig

Row = Mapping[str, Any]
SCORER = "scorer"
SURE = 1.96
"""Standard errors of a 95 % interval."""
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
        CompatibilityError: the evaluation is no evaluation, or one of other runs.

    """
    from synthenticity import __version__

    if evaluation is not None:
        _check_evaluation(evaluation, run)
    config = SequenceScorerConfig.from_pretrained(str(run))
    facts = _read_json(run / "metrics.json")
    rows = [] if evaluation is None else list(evaluation["rows"])
    sections = {
        "Use": USE.format(repo=repo),
        "What it must not be used for": NOT_FOR,
        "How it was trained": _training(config, facts),
        **_measured(rows, evaluation),
        **({} if calibration is None else {"Calibration": _calibration(calibration)}),
        "Limits": LIMITS,
    }
    about = (
        f"How much of a text a machine wrote, and which {_units(config)}: a sequence scorer of "
        "synthenticity, whose values go from 0 (human) to 1 (machine-written)."
    )
    parts = [_head(repo, rows, licence), f"# {repo.rpartition('/')[2]}", about]
    parts += [f"## {title}\n\n{text}" for title, text in sections.items()]
    return "\n\n".join([*parts, f"Card made by synthenticity {__version__}."]) + "\n"


def _units(config: SequenceScorerConfig) -> str:
    return "of its tokens" if config.head == "token" else "share (not which words)"


def _check_evaluation(evaluation: Row, run: Path) -> None:
    try:
        names = [Path(each).name for each in evaluation["runs"]]
        complete = all(SCORER in row["systems"] for row in evaluation["rows"])
    except (KeyError, TypeError):
        complete = False
    if not complete:
        raise CompatibilityError(
            "--evaluation: is not what synthenticity evaluate RUN DATA --out FILE.json writes. "
            "Give such a file."
        )
    if run.resolve().name not in names:
        raise CompatibilityError(
            f"--evaluation: judges {', '.join(names)}, not {run.resolve().name}. Evaluate this run."
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


def _head(repo: str, rows: Sequence[Row], licence: str | None) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="text-classification",
            task_name="share of machine-written tokens",
            dataset_type="synthenticity",
            dataset_name=row["name"],
            dataset_config=row["name"],
            metric_type=kind,
            metric_name=name,
            metric_value=row["systems"][SCORER]["figures"][key],
        )
        for row in rows
        for kind, name, key in (
            ("mae", "MAE of the ratio, partly filled sequences", "mae"),
            ("roc_auc", "AUROC, filled against untouched sequences", "document_auroc"),
            ("fpr", "untouched sequences above the threshold of 1 %", "human_alarms_at_1"),
        )
        if row["systems"][SCORER]["figures"].get(key) is not None
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
    reads = [f"n-grams of {', '.join(map(str, config.ngram_sizes))}"] if config.ngram_sizes else []
    reads += ["likelihoods of a language model"] if config.likelihoods else []
    lines = [
        f"- encoder: {config.encoder.get('model_type')}, "
        f"{config.encoder.get('num_hidden_layers', config.encoder.get('n_layers'))} layers; head: "
        f"{config.head}; windows of {config.block_size} tokens, [CLS] counted"
        + (f"; reads {' and '.join(reads)} beside tokens" if reads else ""),
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


def _measured(rows: Sequence[Row], evaluation: Row | None) -> dict[str, str]:
    """Return the sections of an evaluation, by title."""
    if evaluation is None or not rows:
        return {"How good it is": "Not measured: the card was made without an evaluation."}
    seeds = len(evaluation["runs"])
    note = f" Figures are means over {seeds} training seeds." if seeds > 1 else ""
    return {
        "Human text": _human(rows) + note,
        "How good it is": "\n\n".join(_systems(row) for row in rows) + note,
        "Intervals": _intervals(rows),
        "Alarms": _alarms(rows),
    }


def _human(rows: Sequence[Row]) -> str:
    """Return how often untouched text is above the thresholds, by data set and by length."""
    by_data, by_length = [], []
    for row in rows:
        figures = row["systems"][SCORER]["figures"]
        human = figures.get("human_sequences", 0)
        by_data.append(
            [
                row["name"],
                f"{human:,}",
                f"{row['documents']:,}",
                *(_share(figures.get(f"human_alarms_at_{rate}"), human) for rate in ("1", "5")),
                _number(figures.get("human_mean")),
            ]
        )
        for each in figures.get("documents_by_length", ()):
            some = each.get("human_sequences", 0)
            rates = (_share(each.get(f"human_alarms_at_{rate}"), some) for rate in ("1", "5"))
            by_length.append([row["name"], _bucket(each), f"{some:,}", *rates])
    first = _table(
        ["data", "untouched", "documents", "above 1 %", "above 5 %", "mean score"], by_data
    )
    second = _table(["data", "tokens", "untouched", "above 1 %", "above 5 %"], by_length)
    return (
        "How many untouched (human) sequences are above the thresholds that 1 % and 5 % of the "
        f"first data set's val split exceed, with 95 % intervals (Wilson).\n\n{first}\n\nBy "
        f"length, at the same thresholds:\n\n{second}\n\nSequences of one document are alike, so "
        "the truth is less sure than the intervals say; of other domains than these nothing is "
        "known."
    )


def _systems(row: Row) -> str:
    """Return the table of errors, scorer first, of one data set."""
    cells = []
    for name, system in row["systems"].items():
        figures, difference = system["figures"], system.get("mae_difference")
        cells.append(
            [
                f"**{name}**" if name == SCORER else name,
                _with_interval(system, "mae"),
                "" if difference is None else f"{difference:+.3f}",
                _number(figures.get("pearson")),
                _number(figures.get("token_auroc_filled_within")),
                _number(figures.get("document_auroc")),
                _detected(figures),
            ]
        )
    columns = [
        "",
        "MAE",
        "scorer's less",
        "Pearson r",
        "token AUROC",
        "doc. AUROC",
        "detected from",
    ]
    return (
        f"**{row['name']}**: {row['sequences']:,} sequences of {row['documents']:,} documents, "
        "which neither scorer nor baselines were fitted on. MAE and r of the ratio, over the "
        "partly filled ones, in brackets 95 % intervals over documents; token AUROC within "
        "sequences; detected from: the ratio from which on nine of ten are above the threshold of "
        "1 %.\n\n" + _table(columns, cells)
    )


def _detected(figures: Row) -> str:
    if "detection_limit_at_1" not in figures:
        return ""
    return _number(figures["detection_limit_at_1"]) or "never"


def _intervals(rows: Sequence[Row]) -> str:
    kinds = {"partly filled": "", "untouched": "human_", "all": "all_"}
    cells = []
    for row in rows:
        system = row["systems"][SCORER]
        for name, prefix in kinds.items():
            if f"{prefix}interval_coverage" in system["figures"]:
                held = _with_interval(system, f"{prefix}interval_coverage")
                width = _number(system["figures"].get(f"{prefix}interval_width"))
                cells.append([row["name"], name, held, width])
    if not cells:
        return "Not measured."
    return "How often the truth lies in intervals that should hold 90 %.\n\n" + _table(
        ["data", "sequences", "holds", "mean width"], cells
    )


def _alarms(rows: Sequence[Row]) -> str:
    """Return what rings of the checks for leaks, or that nothing does."""
    every = [(row["name"], alarm) for row in rows for alarm in row["alarms"]]
    rung = [
        f"- **{name}: {alarm['name']}.** {alarm['sentence']}"
        for name, alarm in every
        if alarm["rings"]
    ]
    said = f"{len(rung)} of {len(every)} checks for leaks and shortcuts ring."
    return "\n".join([said, *([""] if rung else []), *rung])


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


def _share(share: float | None, of: int) -> str:
    """Return a share with its Wilson interval.

    >>> _share(0.0, 56), _share(None, 0)
    ('0.000 [0.000, 0.064]', '')
    """
    if share is None or not of:
        return ""
    middle = (share + SURE**2 / (2 * of)) / (1 + SURE**2 / of)
    reach = SURE * math.sqrt(share * (1 - share) / of + SURE**2 / (4 * of**2)) / (1 + SURE**2 / of)
    low, high = max(middle - reach, 0.0), min(middle + reach, 1.0)
    return f"{share:.3f} [{low:.3f}, {high:.3f}]"


def _bucket(bucket: Row) -> str:
    if bucket["to"] is None:
        return f"{bucket['from']:g} or more"
    return f"{bucket['from']:g}-{bucket['to']:g}"


def _with_interval(system: Row, key: str) -> str:
    text = _number(system["figures"].get(key))
    if text and key in system["intervals"]:
        low, high = system["intervals"][key]
        text += f" [{low:.3f}, {high:.3f}]"
    return text


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _table(columns: Sequence[str], cells: Iterable[Sequence[str]]) -> str:
    rows = [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *cells)]
    return "\n".join(rows)
