"""The data of the demo's scorer, for benchmarks: its provider, behind a briefly trained filler.

The filling model has the demo's size and 200 of its training steps: what a forward costs does not
depend on what it has learnt, and its text is Shakespeare enough to be hashed, packed and damaged.
"""

import dataclasses
import os
from pathlib import Path

import transformers

from synthenticity.config import Config
from synthenticity.demo import Budget, demo_stages
from synthenticity.providers.base import DataProviderBase, find_provider
from synthenticity.providers.prepare import prepare
from synthenticity.training.train import train

MLM_STEPS, SCORER_STEPS = 200, 70


def demo_provider(folder: Path) -> tuple[Config, DataProviderBase]:
    """Return the settings of the demo's scorer, for SCORER_STEPS, and the provider of its data."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    budget = Budget(MLM_STEPS, SCORER_STEPS, plan_iters=4, scorer_files=1)
    stages = demo_stages(folder / "demo", budget)
    mlm = dataclasses.replace(stages.mlm, eval_interval=MLM_STEPS)
    scorer = dataclasses.replace(stages.scorer, eval_interval=SCORER_STEPS)
    prepare(mlm, files=1)
    train(mlm, folder / "demo" / "mlm")
    return scorer, find_provider(scorer.dataset)(scorer)
