"""What scorers know of text that they were not trained on: one axis changed at a time.

    python benchmarks/scorer_recipe.py OUT
    python benchmarks/transfer.py OUT --corpora CORPORA

Two scorers, the recipe's own and one trained on the mixture of configs/mixture_scorer.toml, each
beside baselines fitted on its own windows, before the same data sets; nothing is fitted again. OUT
is the folder of scorer_recipe.py. CORPORA holds austen.txt.xz, kjv.txt.xz and moby.txt.xz; without
it, the rows of other corpora are left out. Run again, it goes on where it was.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import record
from minilm_mlm import write_documents
from other_writers import NgramFiller, train_causal
from stages import Stages

from synthenticity.config import Config
from synthenticity.config_file import load_config, write_config
from synthenticity.durable import write_whole
from synthenticity.evaluation.evaluate import Effort, evaluate
from synthenticity.providers.pools import open_corpus, open_split_pools
from synthenticity.providers.prepare import prepare
from synthenticity.providers.sequence_scorer import SequenceScorerProvider
from synthenticity.recipe import Recipe
from synthenticity.text.splits import split_pools
from synthenticity.text.token_pool import TokenPool
from synthenticity.text.tokenization import encode, load_tokenizer

MIXTURE = Path(__file__).parents[1] / "configs" / "mixture_scorer.toml"
TRAIN_FILES, TEST_FILES = 50, 1
SMALL = {"layers": 2, "hidden_size": 48, "intermediate_size": 96, "max_iters": 2500}
PLAIN = Recipe(ratio=(0.1, 0.7))
AXES: dict[str, dict[str, Any]] = {
    "other plays": {},
    "the filling model's own plays": {},
    "a smaller filling model": {},
    "a 5-gram model": {},
    "a left-to-right model": {},
    "filled in 8 rounds": {"steps": 8},
    "spans of 12": {"pattern": "span", "mean_span": 12.0},
    "temperature .7, top 10": {"temperature": 0.7, "top_k": 10},
    "ratios .7 to .95": {"mask_probability_range": (0.7, 0.95)},
    "64 characters": {"block_size": 65},
    "Austen": {"corpus": "austen"},
    "King James Bible": {"corpus": "kjv"},
    "Moby-Dick": {"corpus": "moby"},
}
SHOWN = ("scorer", "character n-gram ridge", "MLM features together", "predict the mean")


def pool_of(config: Config, tokenizer: Any, name: str, window: int) -> TokenPool:
    """Return the windows of a training pool of a config's corpus."""
    opened = open_split_pools(
        config, open_corpus(config), tokenizer, train_pool=name, window=window, recipes=[PLAIN]
    )
    return opened.pools["train"]


def axis_provider(name: str, config: Config, out: Path) -> SequenceScorerProvider:
    """Return what makes the data of an axis."""
    tokenizer = load_tokenizer(out / "mlm")
    if name == "a 5-gram model":
        corpus = open_corpus(config)
        pools = split_pools(
            corpus,
            config.pool_shares,
            split_by=config.split_by,
            near_duplicates=config.near_duplicates,
            seed=config.seed,
        )
        numbers = sorted({int(number) for number in pools["mlm"].documents})
        texts = [encode(tokenizer, corpus.texts.read(number)) for number in numbers]
        return SequenceScorerProvider(config, NgramFiller(texts, tokenizer))
    provider = SequenceScorerProvider(config)
    if name == "the filling model's own plays":
        provider.pools["test"] = pool_of(config, tokenizer, "mlm", config.block_size - 1)
    return provider


def axis_data(out: Path, corpora: Path | None) -> dict[str, Path]:
    """Make the data set of every axis, and return their folders."""
    base = load_config(out / "scorer.toml")
    found = {}
    for number, (name, changes) in enumerate(AXES.items()):
        folder = out / "axes" / f"{number:02d} {name}"
        settings = dict(changes)
        if "corpus" in settings:
            if corpora is None:
                continue
            write_documents(corpora, out / "documents")
            settings["corpus"] = str(out / "documents" / settings["corpus"])
            settings["max_unknown_share"] = 0.1
        if name == "a smaller filling model":
            settings["mlm_checkpoint_path"] = str(out / "small_mlm")
        if name == "a left-to-right model":
            settings["mlm_checkpoint_path"] = str(out / "causal")
            settings["tokenizer"] = str(out / "mlm")
        config = dataclasses.replace(base, data_dir=str(folder), **settings)
        found[name] = folder
        if not (folder / "meta.json").exists() or not list(folder.glob("test/*.parquet")):
            provider = axis_provider(name, config, out)
            prepare(config, files=TEST_FILES, splits=("test",), provider=provider)
    return found


def made(out: Path) -> Stages:
    """Train the other writers and the mixture's scorer."""
    stages = Stages(out)
    mlm = load_config(out / "mlm.toml")
    small = dataclasses.replace(mlm, **SMALL)
    write_config(small, out / "small_mlm.toml")
    stages.run(
        "smaller MLM", "train", out / "small_mlm.toml", "--out_dir", out / "small_mlm", threads=1
    )
    if not (out / "causal" / "config.json").exists():
        tokenizer = load_tokenizer(out / "mlm")
        train_causal(pool_of(mlm, tokenizer, "mlm", 256), tokenizer, out / "causal", length=256)
    mixture = dataclasses.replace(
        load_config(MIXTURE),
        data_dir=str(out / "mixture_data"),
        mlm_checkpoint_path=str(out / "mlm"),
        init_from_checkpoint=str(out / "mlm"),
        val_files=1,
    )
    write_config(mixture, out / "mixture.toml")
    for split, files in (("train", TRAIN_FILES), ("val", 1), ("test", TEST_FILES)):
        command = ["prepare", out / "mixture.toml", "--files", files, "--splits", split]
        stages.run(f"mixture {split}", *command)
    stages.run("mixture scorer", "train", out / "mixture.toml", "--out_dir", out / "mixture_scorer")
    return stages


def judged(out: Path, axes: dict[str, Path]) -> dict[str, Any]:
    """Return the evaluations of both scorers; each is made once."""
    own = {"recipe": ("scorer_1337", "scorer_data"), "mixture": ("mixture_scorer", "mixture_data")}
    found = {}
    for name, (run, data) in own.items():
        path = out / f"transfer_{name}.json"
        if not path.exists():
            sets = [out / data, *axes.values()]
            result = evaluate([out / run], sets, mlm=out / "mlm", effort=Effort(leaks=False))
            write_whole(path, json.dumps(result.to_json()))
        found[name] = json.loads(path.read_text(encoding="utf-8"))
    return found


def lines(found: dict[str, Any], axes: dict[str, Path]) -> list[dict[str, str]]:
    """Return the table: a line for each axis."""
    table = []
    for number, axis in enumerate(["(its own data)", *axes]):
        line = {"tested on": axis}
        for name, result in found.items():
            systems = result["rows"][number]["systems"]
            for system in SHOWN:
                label = f"{name}: {system}"
                line[label] = f"{systems[system]['figures']['mae']:.3f}"
            figures = systems["scorer"]["figures"]
            line[f"{name}: r"] = f"{figures['pearson']:.2f}"
            line[f"{name}: token AUROC within"] = f"{figures['token_auroc_filled_within']:.3f}"
            line[f"{name}: human text"] = f"{figures['human_mean']:.3f}"
        table.append(line)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--corpora", type=Path)
    options = parser.parse_args()
    made(options.out)
    axes = axis_data(options.out, options.corpora)
    found = judged(options.out, axes)
    record.write(
        "transfer",
        title="What scorers know of text that they were not trained on",
        command="python benchmarks/transfer.py OUT --corpora CORPORA",
        about="Mean absolute error of the ratio, 800 sequences a line (ratios 0.1-0.7 unless the "
        "line says otherwise; human text: ratio 0). `recipe` was trained on single characters "
        "filled in one round at ratios 0.1-0.7, `mixture` on configs/mixture_scorer.toml, both "
        "with one filling model; baselines on the same windows as the scorer before them. Nothing "
        "is fitted again.",
        rows=lines(found, axes),
    )


if __name__ == "__main__":
    main()
