"""Settings: precedence, types, suggestions, all problems at once."""

import re
from pathlib import Path

import pytest

from synthenticity.config import Config
from synthenticity.config_file import load_config, write_config
from synthenticity.errors import ConfigError
from synthenticity.recipe import Recipe

ROOT = Path(__file__).parent.parent


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_command_line_beats_file_beats_defaults(tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", "batch_size = 5\nseed = 2\n")
    config = load_config(path, {"batch-size": "7"})
    assert (config.batch_size, config.seed, config.block_size) == (7, 2, 256)


def test_all_problems_of_a_file_are_reported_at_once_with_suggestions(tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", 'batch_sise = 5\nseed = "x"\n')
    with pytest.raises(ConfigError) as caught:
        load_config(path, {"learning_ratee": "1"})
    message = str(caught.value)
    assert f"{path}: unknown setting batch_sise. Did you mean batch_size?" in message
    assert "seed: must be a whole number" in message
    assert "--learning_ratee: unknown setting" in message


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mask_probability_range": (0.7, 0.1)}, "reversed"),
        ({"mask_probability_range": (0.1, 1.2)}, "outside 0 to 1"),
        ({"batch_size": 0}, "not a finite number of at least 1"),
        ({"learning_rate": float("inf")}, "not a finite number"),
        ({"temperature": float("nan")}, "not a finite number"),
        ({"protect": "(x"}, "not a regular expression"),
        ({"hidden_size": 97}, "no multiple of twice attention_heads"),
        ({"pattern": "spam"}, "Did you mean span"),
        ({"attention_type": "causal"}, "bidirectional"),
        ({"pool_shares": (0.5, 0.5)}, "four positive shares"),
        ({"untouched_share": 0.8, "all_filled_share": 0.4}, "exceeds 1"),
        ({"near_duplicates": 1.5}, "outside 0 to 1"),
        ({"test_domains": ("law",)}, "no domain_column"),
        ({"split_by": "balance"}, "Did you mean balanced"),
        ({"unfreeze_at_iteration": 5}, "nothing is frozen"),
        ({"recipes": (Recipe(ratio=(0.6, 0.2)),)}, "recipes[0].ratio"),
        ({"recipes": (Recipe(),), "untouched_share": 0.5}, "no effect beside"),
        ({"recipes": (Recipe(weight=0.0),)}, "all weights are 0"),
        ({"recipes": (Recipe(steps=0),)}, "recipes[0].steps"),
        ({"recipes": (Recipe(),), "steps": 4}, "steps: has no effect beside"),
        ({"steps": 4, "order": "leftmost"}, "none of confident, random"),
        ({"order": "random"}, "no effect in one round"),
        ({"model_weights": "bin"}, "none of safetensors, any"),
    ],
)
def test_wrong_values_are_refused_with_words(settings: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("[", r"\[")):
        Config(**settings)


def test_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such config file"):
        load_config(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(write(tmp_path / "c.toml", "batch_size = = 5"))


@pytest.mark.parametrize(
    ("text", "value"),
    [("[0.2, 0.3]", (0.2, 0.3)), ("0.2,0.3", (0.2, 0.3)), ("(0.2, 0.3)", (0.2, 0.3))],
)
def test_ranges_can_be_typed_in_any_usual_way(text: str, value: tuple) -> None:
    assert load_config(None, {"mask_probability_range": text}).mask_probability_range == value


@pytest.mark.parametrize("text", ["law, old news", "['law', 'old news']", '["law", "old news"]'])
def test_lists_of_words_can_be_typed_in_any_usual_way(text: str) -> None:
    config = load_config(None, {"test_domains": text, "domain_column": "kind"})
    assert config.test_domains == ("law", "old news")
    one = load_config(None, {"test_domains": "law", "domain_column": "kind"})
    assert one.test_domains == ("law",)


def test_lists_of_words_hold_words_only(tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", 'domain_column = "kind"\ntest_domains = ["law", 3]\n')
    with pytest.raises(ConfigError, match=r"test_domains: must be a list of words, got \['law', 3"):
        load_config(path)
    with pytest.raises(ConfigError, match="test_domains: must be a list of words, got 3"):
        load_config(write(path, "test_domains = 3\n"))


@pytest.mark.parametrize(
    ("text", "sizes"), [("2,3", (2, 3)), ("[2, 3]", (2, 3)), ("4", (4,)), ("[]", ())]
)
def test_a_list_of_whole_numbers_stays_whole(
    text: str, sizes: tuple[int, ...], tmp_path: Path
) -> None:
    config = load_config(None, {"ngram_sizes": text})
    assert config.ngram_sizes == sizes and all(type(size) is int for size in config.ngram_sizes)
    write_config(config, tmp_path / "c.toml")
    assert load_config(tmp_path / "c.toml") == config


@pytest.mark.parametrize(("text", "said"), [("2.5,3", "must be some whole numbers"), ("1,2", "2")])
def test_sizes_of_ngrams_are_whole_and_more_than_one(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"ngram_sizes: .*{said}"):
        load_config(None, {"ngram_sizes": text})


def test_python_booleans_and_none_are_understood() -> None:
    config = load_config(None, {"freeze_transformer": "True", "init_from_checkpoint": "none"})
    assert config.freeze_transformer is True
    assert config.init_from_checkpoint is None


def test_a_written_config_reads_back_to_itself(tmp_path: Path) -> None:
    recipes = (
        Recipe(pattern="span", ratio=(0.2, 0.4), top_k=5),
        Recipe(ratio=(0, 0), weight=0.5),
        Recipe(steps=4, order="random", forbid_original=True, mlm_checkpoint_path="runs/other"),
    )
    held_out = Config(domain_column="kind", test_domains=("law", "old, news"))
    for config in (Config(top_p=0.9, untouched_share=0.0), Config(recipes=recipes), held_out):
        write_config(config, tmp_path / "c.toml")
        assert load_config(tmp_path / "c.toml") == config


def test_default_mixture_holds_human_and_fully_filled_text() -> None:
    mixture = Config().mixture(untouched_share=0.15, all_filled_share=0.05)
    assert {recipe.ratio: round(recipe.weight, 6) for recipe in mixture} == {
        (0.0, 0.0): 0.15,
        (1.0, 1.0): 0.05,
        (0.1, 0.7): 0.8,
    }


def test_simple_settings_of_filling_reach_every_recipe_of_the_mixture() -> None:
    config = Config(steps=8, order="random", forbid_original=True)
    mixture = config.mixture(untouched_share=0.15, all_filled_share=0.05)
    assert len(mixture) == 3
    assert {(r.steps, r.order, r.forbid_original) for r in mixture} == {(8, "random", True)}


def test_recipes_tell_what_differs_and_nothing_else() -> None:
    """What is left at its default is in no name and in no fingerprint."""
    assert Recipe(ratio=(0.1, 0.7)).to_json() == {"ratio": [0.1, 0.7]}
    assert Recipe(ratio=(0.1, 0.7)).name == "random 0.1-0.7 t1"
    assert Recipe(steps=8).name == "random 0-1 t1 i8"
    assert Recipe(steps=8, order="random").to_json() == {"steps": 8, "order": "random"}
    assert Recipe(forbid_original=True).name == "random 0-1 t1 f"
    assert Recipe(mlm_checkpoint_path="runs/mlm_2").name == "random 0-1 t1 @mlm_2"


def test_shipped_configs_are_valid_and_hold_the_plans_keys() -> None:
    plan = re.findall(
        r"\w+",
        """
    dataset batch_size block_size mlm_checkpoint_path mask_probability_range cls_token_id
    model_mode attention_type freeze_transformer unfreeze_at_iteration
    unfreeze_lr_multiplier init_from_checkpoint learning_rate warmup_iters max_iters
    eval_interval loss_modifiers_enabled entropy_modifier_enabled target_smoothing_enabled
    batches_per_file max_backlog_files sleep_seconds seed
        """,
    )
    for path in (ROOT / "configs").glob("*.toml"):
        load_config(path)
    text = (ROOT / "configs" / "sequence_scorer.toml").read_text(encoding="utf-8")
    assert [key for key in plan if f"\n{key} = " not in text] == []
