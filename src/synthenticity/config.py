"""Every setting: typed, frozen, documented once, checked before anything else happens.

All wrong values of a config are reported at once. The table in docs/configuration.md is generated
from the fields below; how files and options become a `Config` is in `config_file`.
"""

import dataclasses
import math
from typing import Any

from synthenticity.errors import ConfigError
from synthenticity.settings import (
    bound_problems,
    choice_problems,
    expression_problems,
    range_problems,
    setting,
)

MASK_PATTERNS = ("random", "span", "sticky", "word", "line", "sentence", "prefix", "suffix")
MODEL_MODES = ("language_model", "sequence_scorer")
AUTO = "auto"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way of making a sequence partly synthetic; a mixture is a tuple of weighted recipes."""

    pattern: str = setting("", "random", "rule that chooses the positions", MASK_PATTERNS)
    ratio: tuple[float, float] = setting("", (0.0, 1.0), "range the masked share is drawn from")
    weight: float = setting("", 1.0, "share of the sequences made this way, relative")
    temperature: float = setting("", 1.0, "of the sampling; 0 writes the likeliest token")
    top_k: int | None = setting("", None, "sample among the k likeliest tokens only")
    top_p: float | None = setting("", None, "sample within this probability mass only")
    mean_span: float = setting("", 8.0, "`span`: mean length of a span, in tokens")
    stickiness: float = setting("", 8.0, "`sticky`: how much likelier a neighbour is chosen")

    @property
    def name(self) -> str:
        """A short label that tells recipes apart in data and in tables.

        >>> Recipe(pattern="span", ratio=(0.1, 0.7), top_k=50).name
        'span m8 0.1-0.7 t1 k50'
        """
        low, high = self.ratio
        ratio = f"{low:g}" if low == high else f"{low:g}-{high:g}"
        shape = {"span": f"m{self.mean_span:g}", "sticky": f"s{self.stickiness:g}"}
        parts = [self.pattern, *([shape[self.pattern]] if self.pattern in shape else [])]
        parts += [ratio, f"t{self.temperature:g}"]
        parts += [f"k{self.top_k}"] if self.top_k else []
        parts += [f"p{self.top_p:g}"] if self.top_p else []
        return " ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Return the values that differ from the defaults, as plain ones."""
        return {
            field.name: list(value) if isinstance(value, tuple) else value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }

    def problems(self) -> list[str]:
        """Return what is wrong with the values, one sentence each."""
        return [
            *choice_problems(self),
            *range_problems("ratio", self.ratio),
            *bound_problems(self, _RECIPE_BOUNDS),
        ]


_SHARE = (0.0, 1.0)
_POSITIVE = (1, math.inf)
_NOT_NEGATIVE = (0, math.inf)
_RECIPE_BOUNDS: dict[str, tuple[float, float]] = {
    "weight": _NOT_NEGATIVE,
    "temperature": _NOT_NEGATIVE,
    "top_k": _POSITIVE,
    "top_p": _SHARE,
    "mean_span": _POSITIVE,
    "stickiness": _POSITIVE,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The settings of one run of `prepare` or `train`.

    >>> Config(dataset="sequence_scorer", mask_probability_range=(0.7, 0.1))
    Traceback (most recent call last):
        ...
    synthenticity.errors.ConfigError: mask_probability_range: 0.7 to 0.1 is reversed. \
Write the smaller number first.
    """

    # The text and what is cut from it.
    dataset: str = setting("data", "sequence_scorer", "provider that makes the data, by name")
    corpus: str = setting(
        "data", "shakespeare", "`shakespeare` (extra `demo`), or a UTF-8 text file or folder"
    )
    data_dir: str = setting("data", "data/sequence_scorer", "queue or data set directory")
    split_by: str = setting(
        "data", "document", "how the pools are cut", choices=("document", "position")
    )
    pool_shares: tuple[float, ...] = setting(
        "data",
        (0.42, 0.42, 0.08, 0.08),
        "shares of the MLM-training, scorer-training, val and test pools",
    )
    shared_training_pool: bool = setting(
        "data",
        False,
        "train MLM and scorer on one pool, as the plan does (a scorer then meets text that its "
        "filling model knows by heart)",
    )
    max_unknown_share: float = setting(
        "data", 0.001, "stop if more of the characters than this are unknown to the tokenizer"
    )
    block_size: int = setting("data", 256, "tokens of a sequence; scorer data count [CLS]")
    batch_size: int = setting("data", 16, "sequences of a batch")
    batches_per_file: int = setting("data", 50, "batches of a batch file")
    val_files: int = setting(
        "data", 2, "batch files of the fixed val set; training evaluates on these"
    )
    seed: int = setting("data", 1337, "the only source of randomness")

    # What is masked.
    mask_probability_range: tuple[float, float] = setting(
        "masking", (0.1, 0.7), "range the masked share of a sequence is drawn from, uniformly"
    )
    untouched_share: float | None = setting(
        "masking", None, "sequences left untouched; default 0.15, for char_diffusion 0"
    )
    all_filled_share: float | None = setting(
        "masking", None, "sequences masked whole; default 0.05, for char_diffusion 0"
    )
    pattern: str = setting(
        "masking", "random", "rule that chooses the positions", choices=MASK_PATTERNS
    )
    mean_span: float = setting("masking", 8.0, "`span`: mean length of a span, in tokens")
    stickiness: float = setting("masking", 8.0, "`sticky`: how much likelier a neighbour is")
    protect: str | None = setting(
        "masking", None, "regular expression; a token that touches a match is never masked"
    )
    recipes: tuple[Recipe, ...] = setting(
        "masking",
        (),
        "`[[recipes]]` tables: a mixture in place of the simple settings of masking and sampling",
    )
    corruption: str = setting(
        "masking",
        AUTO,
        "`mask`: [MASK] only; `bert`: 80/10/10; `auto`: bert for char_diffusion, mask for scorers",
        choices=(AUTO, "mask", "bert"),
    )

    # What fills the masks.
    mlm_checkpoint_path: str | None = setting("filling", None, "the filling model: folder or id")
    temperature: float = setting("filling", 1.0, "of the sampling; 0 writes the likeliest token")
    top_k: int | None = setting("filling", None, "sample among the k likeliest tokens only")
    top_p: float | None = setting("filling", None, "sample within this probability mass only")
    cls_token_id: int | None = setting(
        "filling", None, "must be the tokenizer's own [CLS] id; default: taken from it"
    )
    target: str = setting(
        "filling",
        "synthenticity",
        "what `targets` holds; authenticity is 1 - synthenticity",
        choices=("synthenticity", "authenticity"),
    )

    # The queue between provider and consumer.
    max_backlog_files: int = setting("queue", 3, "train files that may wait for the consumer")
    sleep_seconds: float = setting("queue", 5.0, "pause of a provider whose backlog is full")
    wait_seconds: float = setting("queue", 300.0, "how long the consumer waits for a file")

    # The model.
    model_mode: str = setting("model", "sequence_scorer", "what is trained", choices=MODEL_MODES)
    attention_type: str = setting(
        "model", "bidirectional", "only bidirectional makes sense here", choices=("bidirectional",)
    )
    init_from_checkpoint: str | None = setting(
        "model", None, "start from this MLM or scorer; else from scratch"
    )
    head: str = setting(
        "model",
        "token",
        "`token`: token head corrected by [CLS]; `cls`: the plan's [CLS] + sigmoid + MSE",
        choices=("token", "cls"),
    )
    layers: int = setting("model", 3, "encoder layers, from scratch")
    hidden_size: int = setting("model", 96, "width, from scratch")
    attention_heads: int = setting("model", 2, "heads, from scratch")
    intermediate_size: int = setting("model", 192, "width of the feed-forward, from scratch")
    attention_window: int = setting(
        "model", 8, "all layers but the last see this many tokens around each; 0: all see all"
    )
    dropout: float = setting("model", 0.0, "dropout, from scratch")

    # The training.
    learning_rate: float = setting("training", 1e-3, "peak learning rate (AdamW)")
    warmup_iters: int = setting("training", 100, "linear warm-up, in iterations")
    max_iters: int = setting("training", 2000, "iterations (optimizer steps)")
    lr_decay: str = setting(
        "training",
        "cosine",
        "schedule after the warm-up",
        choices=("cosine", "linear", "constant"),
    )
    eval_interval: int = setting("training", 200, "iterations between evaluations on val")
    save_interval: int = setting(
        "training", 500, "iterations between checkpoints, at most; a full backlog saves sooner"
    )
    weight_decay: float = setting("training", 0.01, "AdamW weight decay")
    max_grad_norm: float = setting("training", 1.0, "gradient clipping; 0 switches it off")
    gradient_accumulation_steps: int = setting("training", 1, "batches of an iteration")
    mse_weight: float = setting("training", 10.0, "token head: weight of the MSE of the ratio")
    freeze_transformer: bool = setting("training", False, "start with the encoder frozen")
    unfreeze_at_iteration: int = setting("training", 0, "then thaw it here; 0 means never")
    unfreeze_lr_multiplier: float = setting(
        "training", 1.0, "learning rate of the thawed encoder, relative to the head's"
    )
    loss_modifiers_enabled: bool = setting("training", False, "switch for the three modifiers")
    entropy_modifier_enabled: bool = setting(
        "training", False, "language model: weight tokens by the entropy of their prediction"
    )
    target_smoothing_enabled: bool = setting("training", False, "language model: label smoothing")
    target_smoothing: float = setting("training", 0.1, "mass given to the other tokens")
    mask_ratio_modifier_enabled: bool = setting(
        "training", False, "language model: weight by 1 / masked share, as diffusion bounds do"
    )
    report_to: str = setting(
        "training", "tensorboard", "tensorboard, wandb, mlflow, none, or several with commas"
    )
    device: str = setting("training", AUTO, "auto, cpu, cuda, cuda:1, mps")
    dtype: str = setting(
        "training",
        AUTO,
        "arithmetic of filling and training; auto: float32 on CPU, bfloat16 on CUDA",
        choices=(AUTO, "float32", "bfloat16"),
    )

    def __post_init__(self) -> None:
        problems = [*choice_problems(self), *bound_problems(self, _BOUNDS)]
        problems += range_problems("mask_probability_range", self.mask_probability_range)
        problems += _pool_problems(self.pool_shares)
        problems += self._mixture_problems() + expression_problems("protect", self.protect)
        if self.attention_heads > 0 and self.hidden_size % (2 * self.attention_heads):
            problems.append(
                f"hidden_size: {self.hidden_size} is no multiple of twice attention_heads "
                f"({self.attention_heads}), as rotary positions need."
            )
        if self.unfreeze_at_iteration and not self.freeze_transformer:
            problems.append(
                "unfreeze_at_iteration: nothing is frozen. Set freeze_transformer = true."
            )
        if problems:
            raise ConfigError("\n".join(problems))

    def _mixture_problems(self) -> list[str]:
        problems = [
            f"recipes[{index}].{problem}"
            for index, recipe in enumerate(self.recipes)
            for problem in recipe.problems()
        ]
        simple = ("mask_probability_range", "untouched_share", "all_filled_share", *_SIMPLE_KEYS)
        given = [key for key in simple if getattr(self, key) != SETTINGS[key].default]
        if self.recipes and given:
            problems.append(f"{given[0]}: has no effect beside [[recipes]]. Drop one of the two.")
        if self.recipes and not sum(recipe.weight for recipe in self.recipes) > 0:
            problems.append("recipes: all weights are 0. Give at least one a positive weight.")
        if (self.untouched_share or 0.0) + (self.all_filled_share or 0.0) > 1:
            problems.append("untouched_share: together with all_filled_share it exceeds 1.")
        return problems

    def mixture(self, *, untouched_share: float, all_filled_share: float) -> tuple[Recipe, ...]:
        """Return the recipes with weights that sum to 1; the arguments are the defaults."""
        if self.recipes:
            total = sum(recipe.weight for recipe in self.recipes)
            return tuple(dataclasses.replace(r, weight=r.weight / total) for r in self.recipes)
        untouched = untouched_share if self.untouched_share is None else self.untouched_share
        filled = all_filled_share if self.all_filled_share is None else self.all_filled_share
        simple = Recipe(
            **{key: getattr(self, key) for key in _SIMPLE_KEYS},
            ratio=self.mask_probability_range,
        )
        shares = {(0.0, 0.0): untouched, (1.0, 1.0): filled}
        shares[simple.ratio] = shares.get(simple.ratio, 0.0) + 1.0 - untouched - filled
        return tuple(
            dataclasses.replace(simple, ratio=ratio, weight=weight)
            for ratio, weight in shares.items()
            if weight > 0
        )


_SIMPLE_KEYS = ("pattern", "temperature", "top_k", "top_p", "mean_span", "stickiness")
SETTINGS = {field.name: field for field in dataclasses.fields(Config)}
_BOUNDS: dict[str, tuple[float, float]] = {
    **{key: bound for key, bound in _RECIPE_BOUNDS.items() if key != "weight"},
    "max_unknown_share": _SHARE,
    "block_size": (2, math.inf),
    "batch_size": _POSITIVE,
    "batches_per_file": _POSITIVE,
    "val_files": _POSITIVE,
    "seed": (0, 2**32 - 1),
    "untouched_share": _SHARE,
    "all_filled_share": _SHARE,
    "cls_token_id": _NOT_NEGATIVE,
    "max_backlog_files": (2, math.inf),
    "sleep_seconds": _NOT_NEGATIVE,
    "wait_seconds": _NOT_NEGATIVE,
    "layers": _POSITIVE,
    "hidden_size": _POSITIVE,
    "attention_heads": _POSITIVE,
    "attention_window": _NOT_NEGATIVE,
    "intermediate_size": _POSITIVE,
    "dropout": (0.0, 0.9),
    "learning_rate": _NOT_NEGATIVE,
    "warmup_iters": _NOT_NEGATIVE,
    "max_iters": _POSITIVE,
    "eval_interval": _POSITIVE,
    "save_interval": _POSITIVE,
    "weight_decay": _NOT_NEGATIVE,
    "max_grad_norm": _NOT_NEGATIVE,
    "gradient_accumulation_steps": _POSITIVE,
    "mse_weight": _NOT_NEGATIVE,
    "unfreeze_at_iteration": _NOT_NEGATIVE,
    "unfreeze_lr_multiplier": _NOT_NEGATIVE,
    "target_smoothing": _SHARE,
}


def _pool_problems(shares: tuple[float, ...]) -> list[str]:
    if len(shares) != 4 or min(shares) <= 0 or not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
        return [
            f"pool_shares: {list(shares)} is not four positive shares that sum to 1 "
            "(MLM training, scorer training, val, test)."
        ]
    return []
