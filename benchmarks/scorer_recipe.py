"""How good the scorer is on plays that nothing was trained on: three seeds, baselines, the genie.

    python benchmarks/scorer_recipe.py OUT

OUT holds what is made: the demo's larger budget, from the filling model to the scorers. Run again,
it goes on where it was. The genie's line is in the JSON only if her limit can be computed.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import record
from stages import Stages

from synthenticity.config_file import write_config
from synthenticity.demo import BUDGETS, demo_stages
from synthenticity.durable import write_whole
from synthenticity.evaluation.evaluate import evaluate

SEEDS = (1337, 1, 2)
TEST_FILES = 2


def made(out: Path) -> tuple[Stages, list[Path]]:
    """Make everything in a folder; return what it cost, and the scorers."""
    budget = BUDGETS["full"]
    configs = demo_stages(out, budget)
    stages = Stages(out)
    for name in ("mlm", "scorer"):
        write_config(getattr(configs, name), out / f"{name}.toml")
    mlm, scorer = out / "mlm.toml", out / "scorer.toml"
    files = -(-budget.mlm_iters // configs.mlm.batches_per_file)
    stages.run("MLM data", "prepare", mlm, "--files", files, "--splits", "train")
    stages.run("MLM val", "prepare", mlm, "--files", 1, "--splits", "val")
    stages.run("MLM", "train", mlm, "--out_dir", out / "mlm")
    stages.run(
        "scorer data", "prepare", scorer, "--files", budget.scorer_files, "--splits", "train"
    )
    stages.run("scorer val", "prepare", scorer, "--files", 1, "--splits", "val")
    stages.run("scorer test", "prepare", scorer, "--files", TEST_FILES, "--splits", "test")
    runs = {f"scorer, seed {seed}": out / f"scorer_{seed}" for seed in SEEDS}
    stages.run_side_by_side(
        {
            name: ["train", scorer, "--seed", seed, "--out_dir", run]
            for (name, run), seed in zip(runs.items(), SEEDS, strict=True)
        }
    )
    return stages, list(runs.values())


def row(name: str, system: dict[str, Any]) -> dict[str, str]:
    """Return a system's figures as a line of the table."""
    figures, intervals = system["figures"], system["intervals"]

    def with_interval(value: float, key: str, sign: str = "") -> str:
        low, high = intervals[key]
        return f"{value:{sign}.4f} [{low:{sign}.4f}, {high:{sign}.4f}]"

    def shown(key: str) -> str:
        return f"{figures[key]:.3f}" if key in figures else ""

    difference = system.get("mae_difference")
    return {
        "": name,
        "MAE": with_interval(figures["mae"], "mae"),
        "the scorer's less": ""
        if difference is None
        else with_interval(difference, "mae_difference", "+"),
        "Pearson r": shown("pearson"),
        "token AUROC within": shown("token_auroc_filled_within"),
        "human text scores": shown("human_mean"),
        "interval holds": shown("all_interval_coverage"),
        "partly filled": shown("interval_coverage"),
        "untouched": shown("human_interval_coverage"),
        "its width": shown("interval_width"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    stages, runs = made(out)
    path = out / "evaluation.json"
    if not path.exists():
        found = evaluate(runs, [out / "scorer_data"], mlm=out / "mlm")
        write_whole(path, json.dumps(found.to_json()))
    (judged,) = json.loads(path.read_text(encoding="utf-8"))["rows"]
    own = ("MLM data", "MLM val", "MLM", "scorer data", "scorer val", f"scorer, seed {SEEDS[0]}")
    minutes = sum(stages.seconds[name] for name in own) / 60
    by_run = ", ".join(f"{mae:.4f}" for mae in judged["systems"]["scorer"]["mae_of_runs"])
    record.write(
        "scorer_recipe",
        title="The scorer beside honest baselines, on plays that nothing was trained on",
        command="python benchmarks/scorer_recipe.py OUT",
        about=f"{judged['sequences']} windows of 256 characters of {judged['documents']} plays, "
        f"ratios 0.1-0.7 (human text: ratio 0). The scorer is the mean of {len(runs)} seeds (MAE "
        f"{by_run}); MLM, data and one scorer took {minutes:.1f} processor minutes. All baselines "
        "were fitted on the scorer's own windows (those of likelihoods on the first 8,000). The "
        "scorer's 90 % interval is chosen on other plays. 95 % intervals over plays.",
        rows=[row(name, system) for name, system in judged["systems"].items()],
    )


if __name__ == "__main__":
    main()
