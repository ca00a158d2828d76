"""`synthenticity demo`: the whole loop on Shakespeare's plays, on a CPU, without a download.

It writes two config files and does what the commands printed beside each stage would do with
them: train an MLM, make scorer data, train a scorer, and put it before plays that neither has
seen, next to honest baselines. Run again, it goes on where it was.
"""

import dataclasses
import json
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from synthenticity.config import Config
from synthenticity.config_file import load_config, write_config
from synthenticity.durable import write_whole
from synthenticity.errors import CompatibilityError
from synthenticity.evaluation.baselines import Baseline, ConstantBaseline, NgramRidgeBaseline
from synthenticity.evaluation.predictions import Predictions, predict
from synthenticity.evaluation.report import HeatSample, ReportData, write_report
from synthenticity.evaluation.sequences import COLUMNS, Sequences, sequences_of
from synthenticity.metrics import finite, ratio_metrics
from synthenticity.providers.base import find_provider
from synthenticity.providers.prepare import prepare
from synthenticity.providers.run import PrepareProgress
from synthenticity.stream.batch_file import Columns
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.text.tokenization import load_tokenizer
from synthenticity.training.callbacks import TrainProgress
from synthenticity.training.model import load_scorer
from synthenticity.training.train import train

WINDOW = 256
TESTED_RATIOS = (0.1, 0.7)


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
    view.stage("the plan's own recipe, for comparison", commands[4])
    train(stages.plan, out / "plan_recipe", on_progress=view.update_train)
    view.stage("everything before plays that nothing was trained on")
    results, report = _evaluate(out, stages, mlm.metrics, commands)
    results |= {
        "budget": budget,
        "seconds": round(time.monotonic() - started, 1),
        "resumed": resumed,
    }
    write_whole(out / "results.json", json.dumps(results, indent=2) + "\n")
    write_report(out / "report.html", report)
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


def _read(directory: str, split: str, tokenizer: Any) -> Sequences:
    consumer = DatasetConsumer(directory, batch_size=1, split=split, columns=COLUMNS)
    return sequences_of(consumer.read_all(), tokenizer)


def _evaluate(
    out: Path, stages: _Stages, mlm_metrics: dict[str, float], commands: list[str]
) -> tuple[dict[str, Any], ReportData]:
    tokenizer = load_tokenizer(out / "scorer")
    fitted, held_out = (
        _read(stages.scorer.data_dir, split, tokenizer) for split in ("train", "test")
    )
    low, high = TESTED_RATIOS
    graded = held_out.taken((held_out.ratios >= low - 1e-6) & (held_out.ratios <= high + 1e-6))
    human = held_out.taken(held_out.ratios == 0)
    test = graded.columns
    said = {
        name: (predict(model, test), predict(model, human.columns))
        for name, model in (
            ("scorer", load_scorer(out / "scorer")),
            ("plan_recipe", load_scorer(out / "plan_recipe")),
        )
    }
    rivals: dict[str, Baseline] = {
        "mean": ConstantBaseline(),
        "ngram_ridge": NgramRidgeBaseline(),
    }
    guesses = {
        name: (rival.fit(fitted).predict(graded), rival.predict(human))
        for name, rival in rivals.items()
    }
    baselines = {
        name: {
            **finite(ratio_metrics(of_graded, graded.ratios)),
            "human_mean": float(of_human.mean()),
        }
        for name, (of_graded, of_human) in guesses.items()
    }
    scorer = said["scorer"][0]
    sample = _typical(test, scorer)
    results: dict[str, Any] = {
        name: _figures(graded_said, human_said, test)
        for name, (graded_said, human_said) in said.items()
    }
    results |= {
        "baselines": baselines,
        "mlm": mlm_metrics,
        "test_sequences": len(graded),
        "test_documents": sorted(set(test["document"].tolist())),
        "window_characters": WINDOW,
        "training_sequences": len(fitted),
        "iterations": {"scorer": stages.scorer.max_iters, "plan_recipe": stages.plan.max_iters},
        "batch_size": stages.scorer.batch_size,
        "sample": _sample_json(test, scorer, sample, tokenizer),
        "commands": commands,
    }
    report = ReportData(
        results=results,
        true=graded.ratios,
        predicted={"scorer": scorer.ratios, "n-gram ridge": guesses["ngram_ridge"][0]},
        training_targets=fitted.ratios,
        token_probabilities=scorer.tokens,
        token_labels=test["token_labels"],
        samples=[
            _heat_sample(test, scorer, row, tokenizer, which)
            for which, row in _shown_rows(test, scorer, sample).items()
        ],
        commands=commands,
    )
    return results, report


def _figures(graded: Predictions, human: Predictions, test: Columns) -> dict[str, float]:
    figures = graded.metrics(test)
    if "token_auroc_filled" in figures:
        figures["token_auroc"] = figures["token_auroc_filled"]
    figures["human_mean"] = float(human.ratios.mean())
    return figures


def _typical(test: Columns, scorer: Predictions) -> int:
    """Return the row of median error among those about half filled: no cherry is picked."""
    error = np.abs(scorer.ratios - test["synthenticity"])
    middle = np.flatnonzero(np.abs(test["synthenticity"] - 0.4) < 0.1)
    candidates = middle if len(middle) else np.arange(len(error))
    return int(candidates[np.argsort(error[candidates], kind="stable")[len(candidates) // 2]])


def _shown_rows(test: Columns, scorer: Predictions, typical: int) -> dict[str, int]:
    error = np.abs(scorer.ratios - test["synthenticity"])
    return {
        "the smallest error of all": int(error.argmin()),
        "a typical one": typical,
        "the largest error of all": int(error.argmax()),
    }


def _tokens_of(test: Columns, row: int, tokenizer: Any) -> tuple[list[str], NDArray[np.bool_]]:
    counted = test["token_labels"][row] >= 0
    ids = test["input_ids"][row][counted].astype(np.int64).tolist()
    return tokenizer.convert_ids_to_tokens(ids), counted


def _sample_json(test: Columns, scorer: Predictions, row: int, tokenizer: Any) -> dict[str, Any]:
    tokens, counted = _tokens_of(test, row, tokenizer)
    probabilities = None if scorer.tokens is None else scorer.tokens[row][counted].tolist()
    return {
        "document": str(test["document"][row]),
        "text": "".join(tokens),
        "true": float(test["synthenticity"][row]),
        "predicted": float(scorer.ratios[row]),
        "labels": test["token_labels"][row][counted].tolist(),
        "probabilities": probabilities,
    }


def _heat_sample(
    test: Columns, scorer: Predictions, row: int, tokenizer: Any, which: str
) -> HeatSample:
    tokens, counted = _tokens_of(test, row, tokenizer)
    error = abs(float(scorer.ratios[row] - test["synthenticity"][row]))
    return HeatSample(
        title=f"{which}: {test['document'][row]}, error {error:.3f}",
        tokens=tokens,
        probabilities=None if scorer.tokens is None else scorer.tokens[row][counted],
        labels=test["token_labels"][row][counted],
        true=float(test["synthenticity"][row]),
        predicted=float(scorer.ratios[row]),
    )
