"""Run the demo and keep its figures: those of the README.

python benchmarks/demo.py [--budget full] [--out DIR]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import record

from synthenticity.demo import ABOUT_RECIPES, PLAN, SHORT_NAMES

NAMES = {"scorer": "**scorer**", "plan_recipe": PLAN} | {
    short: name for name, short in SHORT_NAMES.items()
}
KEYS = {
    "mae": "MAE",
    "pearson": "Pearson r",
    "token_auroc": "token AUROC",
    "token_auroc_filled_within": "within documents",
    "human_mean": "untouched text scores",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="fast", choices=("fast", "full"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = options.out or Path(folder) / "demo"
        command = ["-m", "synthenticity", "demo", "--budget", options.budget, "--out", str(out)]
        subprocess.run([sys.executable, *command], check=True)
        results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    figures = {**results, **results["baselines"]}
    record.write(
        f"demo_{options.budget}",
        title=f"The demo, budget `{options.budget}`",
        command=f"synthenticity demo --budget {options.budget}",
        about=f"{results['test_sequences']} held-out windows of {results['window_characters']} "
        f"characters ({', '.join(results['test_documents'])}), ratios 0.1-0.7. All were fitted "
        f"on the same {results['training_sequences']} windows of other plays, the scorer in "
        f"{results['iterations']['scorer']} iterations of {results['batch_size']}, the first "
        f"recipe in {results['iterations']['plan_recipe']}. {ABOUT_RECIPES} The filling model "
        f"reaches {results['mlm']['loss']:.2f} nats a masked character. "
        f"The whole demo took {results['seconds']:.0f} s.",
        rows=[
            {
                "": label,
                **{
                    title: f"{figures[name][key]:.3f}" if key in figures[name] else ""
                    for key, title in KEYS.items()
                },
            }
            for name, label in NAMES.items()
        ],
    )


if __name__ == "__main__":
    main()
