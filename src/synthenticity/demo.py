"""`synthenticity demo`: the whole loop on Shakespeare's plays, on a CPU, without a download.

It writes three config files and does what the commands printed beside each stage would do with
them: train an MLM, make scorer data, train a scorer, and put it before plays that neither has
seen, next to honest baselines. Run again, it goes on where it was.
"""

import dataclasses
import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from synthenticity.config import Config
from synthenticity.config_file import load_config, write_config
from synthenticity.durable import write_whole
from synthenticity.errors import CompatibilityError
from synthenticity.evaluation.evaluate import Effort, Evaluated, evaluate
from synthenticity.evaluation.heat import TYPICAL, heat_sample_of, shown_rows
from synthenticity.evaluation.judging import SCORER, partly_filled
from synthenticity.evaluation.known_limits import LIMITS
from synthenticity.evaluation.predictions import Predictions
from synthenticity.evaluation.report import write_report
from synthenticity.evaluation.sequences import Sequences
from synthenticity.providers.base import find_provider
from synthenticity.providers.prepare import prepare
from synthenticity.providers.run import PrepareProgress
from synthenticity.training.callbacks import TrainProgress
from synthenticity.training.train import train

WINDOW = 256
PLAN = "the first recipe"
ABOUT_RECIPES = (
    "The scorer: a token head, whose mean a [CLS] head corrects. The first recipe: that of the "
    'plan which started this project, a [CLS] head alone (head = "cls") on an encoder that is '
    "frozen at first."
)
SHORT_NAMES = {"predict the mean": "mean", "character n-gram ridge": "ngram_ridge"}
EFFORT = Effort(times=400, most_read=200, most_judged=128, passes=2, leaks=False)
"""What a demo has time for."""


class View(Protocol):
    """What the demo tells whoever watches."""

    def stage(self, title: str, command: str = "") -> None:
        """Begin a stage."""
        ...

    def update_prepare(self, progress: PrepareProgress) -> None:
        """Take the provider's state."""
        ...

    def update_train(self, progress: TrainProgress) -> None:
        """Take the trainer's state."""
        ...


@dataclass(frozen=True)
class Budget:
    """How much is trained: iterations of each model, and train files of scorer data."""

    mlm_iters: int
    scorer_iters: int
    plan_iters: int
    scorer_files: int


BUDGETS = {
    "fast": Budget(mlm_iters=1400, scorer_iters=600, plan_iters=200, scorer_files=5),
    "full": Budget(mlm_iters=8000, scorer_iters=3000, plan_iters=2000, scorer_files=50),
}


@dataclass(frozen=True)
class _Stages:
    """The configs of the demo's three trainings."""

    mlm: Config
    scorer: Config
    plan: Config


def demo_stages(out: Path, budget: Budget) -> _Stages:
    """Return the settings of every stage of a demo in a directory."""
    mlm = Config(
        dataset="char_diffusion",
        data_dir=str(out / "mlm_data"),
        split_by="balanced",
        block_size=WINDOW,
        batch_size=4,
        batches_per_file=200,
        val_files=1,
        corruption="mask",
        model_mode="language_model",
        dtype="float32",  # as the published figures, on every machine
        learning_rate=4e-3,
        warmup_iters=50,
        max_iters=budget.mlm_iters,
        eval_interval=max(budget.mlm_iters // 3, 1),
    )
    scorer = Config(
        dataset="sequence_scorer",
        data_dir=str(out / "scorer_data"),
        split_by="balanced",
        block_size=WINDOW + 1,
        batch_size=16,
        batches_per_file=50,
        val_files=1,
        mlm_checkpoint_path=str(out / "mlm"),
        init_from_checkpoint=str(out / "mlm"),
        model_mode="sequence_scorer",
        dtype="float32",
        learning_rate=2e-3,
        warmup_iters=50,
        max_iters=budget.scorer_iters,
        eval_interval=max(budget.scorer_iters // 3, 1),
    )
    plan = dataclasses.replace(
        scorer,
        head="cls",
        ngram_sizes=(),
        learning_rate=1e-4,
        freeze_transformer=True,
        unfreeze_at_iteration=budget.plan_iters // 4,
        max_iters=budget.plan_iters,
        eval_interval=budget.plan_iters,
    )
    return _Stages(mlm, scorer, plan)


def run_demo(out: Path, *, budget: str, view: View) -> dict[str, Any]:
    """Do everything, write `report.html` and `results.json` into `out`, and return the results."""
    started = time.monotonic()
    size = BUDGETS[budget]
    stages = demo_stages(out, size)
    _check_same_demo(out, stages, budget)
    resumed = (out / "mlm.toml").exists()
    out.mkdir(parents=True, exist_ok=True)
    commands = _write_configs(out, stages, size)
    view.stage("masked windows of 16 plays", commands[0])
    mlm_files = -(-size.mlm_iters // stages.mlm.batches_per_file)
    _make_data(stages.mlm, mlm_files, ("val",), view)
    view.stage("a character MLM", commands[1])
    mlm = train(stages.mlm, out / "mlm", on_progress=view.update_train)
    view.stage("windows of 15 other plays, partly rewritten by it", commands[2])
    _make_data(stages.scorer, size.scorer_files, ("val", "test"), view)
    view.stage("a sequence scorer", commands[3])
    train(stages.scorer, out / "scorer", on_progress=view.update_train)
    view.stage(f"{PLAN}, for comparison", commands[4])
    train(stages.plan, out / "plan_recipe", on_progress=view.update_train)
    view.stage("everything before plays that nothing was trained on")
    found = _evaluate(out, stages)
    results = _results(found, stages, mlm.metrics, commands) | {
        "budget": budget,
        "seconds": round(time.monotonic() - started, 1),
        "resumed": resumed,
    }
    write_whole(out / "results.json", json.dumps(results, indent=2) + "\n")
    write_report(
        out / "report.html",
        found,
        title="Synthenticity report",
        about=[_about(results), ABOUT_RECIPES],
        commands=commands,
    )
    return results


def _check_same_demo(out: Path, stages: _Stages, budget: str) -> None:
    """Refuse to go on with a demo of another budget."""
    for name in ("mlm", "scorer", "plan"):
        path = out / f"{name}.toml"
        if path.exists() and load_config(path) != getattr(stages, name):
            raise CompatibilityError(
                f"{out}: holds a demo with other settings than --budget {budget} ({path.name}). "
                "Give another --out, or remove this one."
            )


def _make_data(config: Config, files: int, others: tuple[str, ...], view: View) -> None:
    """Make the train files, and one file of each other split."""
    provider = find_provider(config.dataset)(config)
    for count, splits in ((files, ("train",)), (1, others)):
        prepare(
            config,
            files=count,
            splits=splits,
            provider=provider,
            on_progress=view.update_prepare,
        )


def _write_configs(out: Path, stages: _Stages, budget: Budget) -> list[str]:
    """Write the config files, and return the commands that use them."""
    for name in ("mlm", "scorer", "plan"):
        write_config(getattr(stages, name), out / f"{name}.toml")
    mlm_files = -(-budget.mlm_iters // stages.mlm.batches_per_file)
    place = shlex.quote(str(out))

    def prepares(name: str, files: int, others: str) -> str:
        command = f"synthenticity prepare {place}/{name}.toml --files"
        return f"{command} {files} --splits train && {command} 1 --splits {others}"

    return [
        prepares("mlm", mlm_files, "val"),
        f"synthenticity train {place}/mlm.toml --out_dir {place}/mlm",
        prepares("scorer", budget.scorer_files, "val,test"),
        f"synthenticity train {place}/scorer.toml --out_dir {place}/scorer",
        f"synthenticity train {place}/plan.toml --out_dir {place}/plan_recipe",
    ]


def _evaluate(out: Path, stages: _Stages) -> Evaluated:
    return evaluate(
        [out / "scorer"],
        [Path(stages.scorer.data_dir)],
        mlm=out / "mlm",
        rivals={PLAN: out / "plan_recipe"},
        effort=EFFORT,
    )


def _results(
    found: Evaluated, stages: _Stages, mlm_metrics: dict[str, float], commands: list[str]
) -> dict[str, Any]:
    """Return what `results.json` holds: ratios over what is partly filled, .1 to .7 of each."""
    systems = {name: _figures(each) for name, each in found.rows[0]["systems"].items()}
    test, said = found.evidence[0].test, found.evidence[0].said[SCORER][0]
    partly = partly_filled(test)
    return {
        "scorer": systems.pop(SCORER),
        "plan_recipe": systems.pop(PLAN),
        "limits": {name: systems.pop(name) for name in LIMITS if name in systems},
        "baselines": {SHORT_NAMES.get(name, name): each for name, each in systems.items()},
        "mlm": mlm_metrics,
        "test_sequences": int(partly.sum()),
        "test_documents": sorted(set(test.columns["document"][partly].tolist())),
        "window_characters": WINDOW,
        "training_sequences": found.fitted,
        "iterations": {"scorer": stages.scorer.max_iters, "plan_recipe": stages.plan.max_iters},
        "batch_size": stages.scorer.batch_size,
        "sample": _sample(test, said, found.tokenizer),
        "commands": commands,
    }


def _figures(system: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of a system that are numbers."""
    figures = {name: value for name, value in system["figures"].items() if isinstance(value, float)}
    if "token_auroc_filled" in figures:
        figures["token_auroc"] = figures["token_auroc_filled"]
    return figures


def _sample(test: Sequences, said: Predictions, tokenizer: Any) -> dict[str, Any]:
    """Return a typical text with its truth, and what the scorer says of it."""
    row = shown_rows(test, said)[TYPICAL]
    shown = heat_sample_of(test, said, row, tokenizer, TYPICAL)
    return {
        "document": str(test.columns["document"][row]),
        "text": "".join(shown.tokens),
        "true": shown.true,
        "predicted": shown.predicted,
        "labels": shown.labels.tolist(),
        "probabilities": None if shown.probabilities is None else shown.probabilities.tolist(),
    }


def _about(results: dict[str, Any]) -> str:
    """Return what was judged, in words."""
    return (
        f"Windows of {results['window_characters']} characters from "
        f"{', '.join(results['test_documents'])}, which neither the filling model nor the scorer "
        "has seen. A share between 0.1 and 0.7 of most was masked and rewritten; some are "
        f"untouched, some written whole. The filling model reaches {results['mlm']['loss']:.2f} "
        f"nats a character ({results['mlm']['accuracy']:.0%} top-1) on held-out plays."
    )
