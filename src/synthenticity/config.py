"""Every setting: typed, frozen, documented once, checked before anything else happens.

All wrong values of a config are reported at once. The table in docs/configuration.md is generated
from the fields below; how files and options become a `Config` is in `config_file`.
"""

import dataclasses
import math

from synthenticity.errors import ConfigError
from synthenticity.recipe import (
    FILL_ORDERS,
    MASK_PATTERNS,
    NOT_NEGATIVE,
    POSITIVE,
    RECIPE_BOUNDS,
    SHARE,
    Recipe,
    order_problems,
)
from synthenticity.settings import (
    bound_problems,
    choice_problems,
    expression_problems,
    range_problems,
    setting,
)

SAFETENSORS = "safetensors"
RUNTIMES = ("torch", "openvino", "onnx")
MODEL_MODES = ("language_model", "sequence_scorer")
RATIO_LOSSES = ("absolute", "squared", "cross_entropy")
AUTO = "auto"


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
        "data",
        "shakespeare",
        "text, CSV, JSON lines, Parquet or Arrow file, a folder or glob of them, `hf:NAME`, `-` "
        "(standard input), or `shakespeare` (extra `demo`)",
    )
    text_column: str = setting("data", "text", "column of tables that holds the text")
    id_column: str | None = setting(
        "data", None, "column that holds the document's name; default: file and line or row"
    )
    group_column: str | None = setting(
        "data", None, "column that holds a group (author, source); a group stays in one pool"
    )
    domain_column: str | None = setting(
        "data", None, "column that holds the domain, for `test_domains`"
    )
    protect_column: str | None = setting(
        "data", None, "column that holds spans of characters, `[[start, end], ...]`, never masked"
    )
    document_per: str = setting(
        "data",
        "file",
        "what is a document of a plain text file",
        choices=("file", "line", "paragraph"),
    )
    data_dir: str = setting("data", "data/sequence_scorer", "queue or data set directory")
    split_by: str = setting(
        "data",
        "document",
        "how the pools are cut: a document goes where the hash of its name says, for good; "
        "`balanced` meets the shares with few documents; `position` cuts each document",
        choices=("document", "balanced", "position"),
    )
    pool_shares: tuple[float, ...] = setting(
        "data",
        (0.42, 0.42, 0.08, 0.08),
        "shares of the MLM-training, scorer-training, val and test pools",
    )
    near_duplicates: float = setting(
        "data",
        0.2,
        "documents that share so much of their runs of 13 words stay in one pool; 0 is off",
    )
    test_domains: tuple[str, ...] = setting(
        "data", (), "domains whose documents are in test only, held out from all training"
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
    block_size: int = setting("data", 256, "tokens of a sequence; [CLS] and [SEP] count")
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
        "masking", None, "sequences left untouched; default 0.15, for MLM data 0"
    )
    all_filled_share: float | None = setting(
        "masking", None, "sequences masked whole; default 0.05, for MLM data 0"
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
        "`mask`: [MASK] only; `bert`: 80/10/10; `auto`: bert for MLM data, mask for scorers",
        choices=(AUTO, "mask", "bert"),
    )

    # What fills the masks.
    mlm_checkpoint_path: str | None = setting(
        "filling", None, "the filling model: folder, id, or ID@REVISION"
    )
    temperature: float = setting("filling", 1.0, "of the sampling; 0 writes the likeliest token")
    top_k: int | None = setting("filling", None, "sample among the k likeliest tokens only")
    top_p: float | None = setting("filling", None, "sample within this probability mass only")
    steps: int = setting(
        "filling", 1, "rounds in which the masks are filled; later ones see earlier ones"
    )
    order: str = setting("filling", "confident", "what a round fills first", choices=FILL_ORDERS)
    forbid_original: bool = setting("filling", False, "never write the token that stood there")
    runtime: str = setting(
        "filling",
        AUTO,
        "what computes a masked filling model; `auto`: torch, and openvino for int8 (extras "
        "`openvino`, `int8`, `onnx`)",
        choices=(AUTO, *RUNTIMES),
    )
    fill_cache_mib: int = setting(
        "filling", 64, "memory for rows that the filling model has read, in MiB; 0: none is kept"
    )
    fill_cache_dir: str | None = setting(
        "filling", None, "folder on a local disk where they are kept as well, for runs to come"
    )
    fill_cache_dir_mib: int = setting("filling", 1024, "how large its file may get, in MiB")
    model_weights: str = setting(
        "filling",
        SAFETENSORS,
        "`any` allows PyTorch's old format, too: only for files that you trust",
        choices=(SAFETENSORS, "any"),
    )
    model_remote_code: bool = setting(
        "filling", False, "run the Python code that comes with the filling model"
    )
    tokenizer: str | None = setting(
        "filling", None, "tokenizer of scorer data: folder or id; default: the filling model's"
    )
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
    commit: str = setting(
        "queue",
        "link",
        "how files get their names; `rename` where the file system has no hard links",
        choices=("link", "rename"),
    )
    sleep_seconds: float = setting("queue", 5.0, "pause of a provider whose backlog is full")
    wait_seconds: float = setting("queue", 300.0, "how long the consumer waits for a file")

    # The model.
    model_mode: str = setting("model", "sequence_scorer", "what is trained", choices=MODEL_MODES)
    attention_type: str = setting(
        "model", "bidirectional", "only bidirectional makes sense here", choices=("bidirectional",)
    )
    init_from_checkpoint: str | None = setting(
        "model", None, "start from this MLM, scorer, or encoder to make an MLM of"
    )
    head: str = setting(
        "model",
        "token",
        "`token`: token head corrected by [CLS]; `cls`: the plan's [CLS] + sigmoid",
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
    ngram_sizes: tuple[int, ...] = setting(
        "model", (2, 3, 4, 5), "scorer: n-grams of tokens that the encoder is given, too"
    )
    ngram_bits: int = setting("model", 16, "each size of n-gram has 2^bits places in a table")
    ngram_width: int = setting("model", 16, "numbers that each of them holds")
    ngram_dropout: float = setting("model", 0.0, "share of the n-grams that training leaves out")
    likelihood_model: str | None = setting(
        "model", None, "scorer: a language model whose opinion of each token it reads, too"
    )
    likelihood_passes: int = setting(
        "model", 4, "readings of a text by a masked one; 0: one, in which nothing is masked"
    )

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
    gradient_accumulation_steps: int = setting(
        "training",
        1,
        "batches of an iteration; they count as one (under the entropy modifier, each alike)",
    )
    dataloader_num_workers: int = setting(
        "training", 0, "processes that read batches ahead; 0: training reads by itself"
    )
    ratio_loss: str = setting(
        "training",
        "squared",
        "of the scorer's ratio: |error|, error squared, or cross-entropy",
        choices=RATIO_LOSSES,
    )
    ratio_weight: float = setting(
        "training", 3.0, "token head: its weight against the tokens' cross-entropy"
    )
    freeze_transformer: bool = setting("training", False, "start with the encoder frozen")
    unfreeze_at_iteration: int = setting("training", 0, "then thaw it here; 0 means never")
    unfreeze_lr_multiplier: float = setting(
        "training", 1.0, "learning rate of the thawed encoder, relative to the head's"
    )
    head_lr_multiplier: float = setting(
        "training", 1.0, "learning rate of what is new, heads and channels, relative to the rest"
    )
    shard_model: bool = setting(
        "training",
        False,
        "processes of one training share its weights and optimizer states out (FSDP)",
    )
    feature_cache_gb: float = setting(
        "training",
        2.0,
        "memory for the features of a frozen encoder, when a finite set is read again; 0: none",
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
        "arithmetic of filling and training; auto: bfloat16 where the device multiplies it, else "
        "float32; int8: filling only",
        choices=(AUTO, "float32", "bfloat16", "int8"),
    )

    def __post_init__(self) -> None:
        problems = [*choice_problems(self), *bound_problems(self, _BOUNDS)]
        problems += range_problems("mask_probability_range", self.mask_probability_range)
        problems += _pool_problems(self.pool_shares)
        problems += order_problems(self)
        if self.test_domains and self.domain_column is None:
            problems.append("test_domains: no domain_column says which domain a document has.")
        problems += self._mixture_problems() + expression_problems("protect", self.protect)
        if self.attention_heads > 0 and self.hidden_size % (2 * self.attention_heads):
            problems.append(
                f"hidden_size: {self.hidden_size} is no multiple of twice attention_heads "
                f"({self.attention_heads}), as rotary positions need."
            )
        if any(size < 2 for size in self.ngram_sizes):
            problems.append(
                f"ngram_sizes: {list(self.ngram_sizes)} holds less than 2; single tokens are read "
                "anyway. Give sizes of 2 and more, or [] for none."
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


_SIMPLE_KEYS = (
    "pattern",
    "temperature",
    "top_k",
    "top_p",
    "mean_span",
    "stickiness",
    "steps",
    "order",
    "forbid_original",
)
SETTINGS = {field.name: field for field in dataclasses.fields(Config)}
_BOUNDS: dict[str, tuple[float, float]] = {
    **{key: bound for key, bound in RECIPE_BOUNDS.items() if key != "weight"},
    "near_duplicates": SHARE,
    "max_unknown_share": SHARE,
    "block_size": (2, math.inf),
    "batch_size": POSITIVE,
    "batches_per_file": POSITIVE,
    "val_files": POSITIVE,
    "seed": (0, 2**32 - 1),
    "untouched_share": SHARE,
    "all_filled_share": SHARE,
    "cls_token_id": NOT_NEGATIVE,
    "fill_cache_mib": NOT_NEGATIVE,
    "fill_cache_dir_mib": POSITIVE,
    "max_backlog_files": (2, math.inf),
    "sleep_seconds": NOT_NEGATIVE,
    "wait_seconds": NOT_NEGATIVE,
    "layers": POSITIVE,
    "hidden_size": POSITIVE,
    "attention_heads": POSITIVE,
    "attention_window": NOT_NEGATIVE,
    "intermediate_size": POSITIVE,
    "dropout": (0.0, 0.9),
    "ngram_bits": (1, 24),
    "ngram_width": POSITIVE,
    "ngram_dropout": (0.0, 0.9),
    "likelihood_passes": NOT_NEGATIVE,
    "learning_rate": NOT_NEGATIVE,
    "warmup_iters": NOT_NEGATIVE,
    "max_iters": POSITIVE,
    "eval_interval": POSITIVE,
    "save_interval": POSITIVE,
    "weight_decay": NOT_NEGATIVE,
    "max_grad_norm": NOT_NEGATIVE,
    "gradient_accumulation_steps": POSITIVE,
    "dataloader_num_workers": NOT_NEGATIVE,
    "ratio_weight": NOT_NEGATIVE,
    "unfreeze_at_iteration": NOT_NEGATIVE,
    "unfreeze_lr_multiplier": NOT_NEGATIVE,
    "head_lr_multiplier": NOT_NEGATIVE,
    "feature_cache_gb": NOT_NEGATIVE,
    "target_smoothing": SHARE,
}


def _pool_problems(shares: tuple[float, ...]) -> list[str]:
    if len(shares) != 4 or min(shares) <= 0 or not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
        return [
            f"pool_shares: {list(shares)} is not four positive shares that sum to 1 "
            "(MLM training, scorer training, val, test)."
        ]
    return []
