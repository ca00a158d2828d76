"""What the providers make is true: windows, masks, labels and targets agree with the corpus."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthenticity.config import Config
from synthenticity.errors import CompatibilityError, ConfigError, CorpusError
from synthenticity.providers.base import DataProviderBase, find_provider
from synthenticity.providers.char_diffusion import CharDiffusionProvider
from synthenticity.providers.sequence_scorer import SequenceScorerProvider
from synthenticity.recipe import Recipe
from synthenticity.synthesis.synthetic_generation import fraction_labelled
from synthenticity.text.reading import CorpusSource, read_documents


@pytest.fixture(scope="module")
def provider(scorer_config: Config) -> SequenceScorerProvider:
    return SequenceScorerProvider(scorer_config)


@pytest.fixture(scope="module")
def file(provider: SequenceScorerProvider) -> dict[str, np.ndarray]:
    return provider.make_file("train", 0)


def documents_of(config: Config) -> dict[str, str]:
    """Return the texts of a corpus by name, none of them rejected."""
    source = CorpusSource(source=config.corpus)
    return {d.id: d.text for d in read_documents(source, on_rejected=pytest.fail)}


def texts(provider: DataProviderBase, ids: np.ndarray) -> list[str]:
    return ["".join(provider.tokenizer.convert_ids_to_tokens(row.tolist())) for row in ids]


def test_originals_stand_in_the_corpus_where_the_record_says(
    provider: SequenceScorerProvider, file: dict[str, np.ndarray], scorer_config: Config
) -> None:
    corpus = documents_of(scorer_config)
    for text, name, offset in zip(
        texts(provider, file["original_ids"][:, 1:]), file["document"], file["offset"], strict=True
    ):
        assert corpus[name][offset : offset + 32] == text


def test_labels_tell_what_happened_to_every_token(file: dict[str, np.ndarray]) -> None:
    changed = file["input_ids"] != file["original_ids"]
    labels = file["token_labels"]
    assert (labels[:, 0] == -100).all()
    assert np.isin(labels[:, 1:], (0, 1, 2)).all()
    assert (changed == (labels == 2)).all()
    assert {0, 1, 2} <= set(labels.ravel().tolist())


def test_targets_are_each_sequences_own_share_not_its_recipes_mean(
    file: dict[str, np.ndarray],
) -> None:
    shares = fraction_labelled(file["token_labels"], (1, 2))
    assert (file["targets"] == shares).all() and (file["synthenticity"] == shares).all()
    assert len(set(shares.tolist())) > 4


def test_every_sequence_begins_with_cls_and_holds_no_other_special_token(
    provider: SequenceScorerProvider, file: dict[str, np.ndarray]
) -> None:
    assert (file["input_ids"][:, 0] == provider.tokenizer.cls_token_id).all()
    assert not np.isin(file["input_ids"][:, 1:], provider.tokenizer.all_special_ids).any()


def test_authenticity_is_the_rest(
    provider: SequenceScorerProvider, scorer_config: Config, file: dict[str, np.ndarray]
) -> None:
    config = dataclasses.replace(scorer_config, target="authenticity")
    other = SequenceScorerProvider(config, mlm_engine=provider.filler.models[None].engine)
    columns = other.make_file("train", 0)
    assert (columns["targets"] == 1 - file["targets"]).all()
    assert (columns["synthenticity"] == file["synthenticity"]).all()


def test_bert_corruption_labels_its_random_tokens_and_counts_them_not_as_filled(
    scorer_config: Config, constant_engine: Any
) -> None:
    config = dataclasses.replace(
        scorer_config,
        corruption="bert",
        batch_size=64,
        mask_probability_range=(1.0, 1.0),
        untouched_share=0.0,
        all_filled_share=0.0,
    )
    columns = SequenceScorerProvider(config, mlm_engine=constant_engine).make_file("train", 0)
    labels = columns["token_labels"][:, 1:]
    known = labels[labels >= 0]
    assert (known == 3).mean() == pytest.approx(0.1, abs=0.03)
    assert (known == 0).mean() == pytest.approx(0.1, abs=0.03)
    assert columns["synthenticity"].mean() == pytest.approx(0.8, abs=0.03)


def test_default_mixture_holds_human_and_machine_text(
    scorer_config: Config, constant_engine: Any
) -> None:
    config = dataclasses.replace(scorer_config, batch_size=500)
    provider = SequenceScorerProvider(config, mlm_engine=constant_engine)
    shares = provider.make_file("train", 0)["synthenticity"]
    assert (shares == 0).mean() == pytest.approx(0.15, abs=0.03)
    assert (shares == 1).mean() == pytest.approx(0.05, abs=0.02)
    between = shares[(shares > 0) & (shares < 1)]
    assert between.min() >= 0.09 and between.max() <= 0.72
    assert between.mean() == pytest.approx(0.4, abs=0.02)


def test_recipes_are_obeyed_and_recorded(scorer_config: Config, constant_engine: Any) -> None:
    recipes = (Recipe(pattern="span", ratio=(0.5, 0.5)), Recipe(ratio=(0.25, 0.25), weight=3))
    config = dataclasses.replace(scorer_config, recipes=recipes, batch_size=100)
    columns = SequenceScorerProvider(config, mlm_engine=constant_engine).make_file("train", 0)
    spans = columns["recipe"] == recipes[0].name
    counted = (columns["token_labels"] >= 0).sum(axis=1)
    filled = (columns["token_labels"] > 0).sum(axis=1)
    assert (filled == np.rint(np.where(spans, 0.5, 0.25) * counted)).all()
    assert spans.mean() == pytest.approx(0.25, abs=0.08)


def test_each_sequence_is_filled_as_its_own_recipe_says(
    scorer_config: Config, provider: SequenceScorerProvider
) -> None:
    recipes = (
        Recipe(ratio=(0.5, 0.5)),
        Recipe(ratio=(0.5, 0.5), forbid_original=True),
        Recipe(ratio=(0.5, 0.5), steps=4, order="random", temperature=0.0),
    )
    config = dataclasses.replace(scorer_config, recipes=recipes, batch_size=60)
    columns = SequenceScorerProvider(
        config, mlm_engine=provider.filler.models[None].engine
    ).make_file("train", 0)
    at = {recipe.name: columns["recipe"] == recipe.name for recipe in recipes}
    restored = (columns["token_labels"] == 1).any(axis=1)
    assert [restored[rows].any() for rows in at.values()] == [True, False, True]
    in_rounds = at[recipes[2].name]
    one_shot = provider.filler.models[None].engine.predict_masked_tokens(
        columns["original_ids"][in_rounds][:, 1:],
        columns["token_labels"][in_rounds][:, 1:] > 0,
        sequence_keys=np.zeros(in_rounds.sum()),
        temperature=0.0,
    )
    assert (one_shot != columns["input_ids"][in_rounds][:, 1:]).any()


def test_pools_of_all_purposes_share_no_document(
    provider: SequenceScorerProvider, mlm_config: Config
) -> None:
    mlm = CharDiffusionProvider(mlm_config)
    pools = [set(mlm.pools["train"].names)]
    pools += [set(provider.pools[split].names) for split in ("train", "val", "test")]
    assert all(pools)
    assert sum(map(len, pools)) == len(set.union(*pools)) == 10
    assert set(mlm.pools["val"].names) == pools[2]


def test_mlm_labels_are_the_originals_of_the_masked(mlm_config: Config) -> None:
    config = dataclasses.replace(mlm_config, corruption="mask")
    provider = CharDiffusionProvider(config)
    columns = provider.make_file("train", 0)
    masked = columns["labels"] != -100
    assert (columns["input_ids"][masked] == provider.tokenizer.mask_token_id).all()
    original = np.where(masked, columns["labels"], columns["input_ids"])
    corpus = documents_of(config)
    for text, name, offset in zip(
        texts(provider, original), columns["document"], columns["offset"], strict=True
    ):
        assert corpus[name][offset : offset + config.block_size] == text
    assert np.allclose(masked.mean(axis=1), columns["mask_ratio"])


def test_mlm_data_are_corrupted_as_bert_does_by_default(mlm_config: Config) -> None:
    config = dataclasses.replace(mlm_config, batch_size=100)
    provider = CharDiffusionProvider(config)
    columns = provider.make_file("train", 0)
    masked = columns["labels"] != -100
    inputs, labels = columns["input_ids"][masked], columns["labels"][masked]
    hidden = inputs == provider.tokenizer.mask_token_id
    assert hidden.mean() == pytest.approx(0.8, abs=0.02)
    assert (inputs == labels).mean() == pytest.approx(0.1, abs=0.02)


def test_an_unknown_provider_lists_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match="Known: char_diffusion, markov, masked_lm, sequence_scorer"
    ):
        find_provider("nothing")


def test_windows_longer_than_the_mlm_reads_are_refused(scorer_config: Config) -> None:
    config = dataclasses.replace(scorer_config, block_size=300)
    with pytest.raises(CompatibilityError, match="299"):
        SequenceScorerProvider(config)


def test_a_missing_filling_model_is_refused(scorer_config: Config) -> None:
    config = dataclasses.replace(scorer_config, mlm_checkpoint_path=None)
    with pytest.raises(ConfigError, match="mlm_checkpoint_path: not set"):
        SequenceScorerProvider(config)


def test_unknown_characters_are_reported_below_the_limit_and_refused_above(
    scorer_config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(4):
        text = "the king and his fool " * 20 + ("\u00df" if number == 0 else "")
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
    changes = {"corpus": str(tmp_path), "near_duplicates": 0.0, "max_unknown_share": 0.1}
    config = dataclasses.replace(scorer_config, **changes)
    provider = SequenceScorerProvider(config)
    assert provider.unknown_share == 1 / (4 * 440 + 1)
    assert "'\u00df' x 1" in caplog.text
    with pytest.raises(CorpusError, match="'\u00df' x 1"):
        SequenceScorerProvider(dataclasses.replace(config, max_unknown_share=0.0))


@pytest.mark.parametrize("pattern", ["word", "line", "sentence", "prefix", "suffix"])
def test_patterns_of_the_text_reach_the_files(
    pattern: str, scorer_config: Config, constant_engine: Any
) -> None:
    config = dataclasses.replace(
        scorer_config, pattern=pattern, untouched_share=0.0, all_filled_share=0.0
    )
    columns = SequenceScorerProvider(config, constant_engine).make_file("train", 0)
    filled = columns["token_labels"][:, 1:] > 0
    assert columns["synthenticity"] == pytest.approx(filled.mean(axis=1), abs=1e-6)
    assert all(name.startswith(pattern) for name in columns["recipe"])
    edges = np.diff(np.pad(filled.astype(int), ((0, 0), (1, 1))), axis=1)
    runs = (edges == 1).sum(axis=1)
    if pattern in ("prefix", "suffix"):
        assert (runs <= 1).all()
        assert filled[:, 0 if pattern == "prefix" else -1].mean() > 0.9
    else:
        assert filled.sum() / runs.sum() > 2.0


def test_protected_text_is_never_written(scorer_config: Config, constant_engine: Any) -> None:
    config = dataclasses.replace(
        scorer_config, protect=r"king|fool", mask_probability_range=(0.9, 1.0)
    )
    columns = SequenceScorerProvider(config, constant_engine).make_file("train", 0)
    tokenizer = constant_engine.tokenizer
    seen = 0
    for ids, labels in zip(columns["original_ids"], columns["token_labels"], strict=True):
        text = "".join(tokenizer.convert_ids_to_tokens(ids[1:].tolist()))
        for match in re.finditer("king|fool", text):
            seen += 1
            assert (labels[1:][match.start() : match.end()] == 0).all()
    assert seen > 5
    meta = SequenceScorerProvider(config, constant_engine).meta("finite")
    assert meta.made_with["protect"] == "king|fool"


def test_seed_split_number_and_batch_each_change_what_is_made(
    scorer_config: Config, constant_engine: Any
) -> None:
    def places(config: Config, split: str, number: int) -> list[list[int]]:
        """Return where the windows of each batch of a file begin."""
        offsets = SequenceScorerProvider(config, constant_engine).make_file(split, number)["offset"]
        return offsets.reshape(config.batches_per_file, -1).tolist()

    one_pool = dataclasses.replace(scorer_config, split_by="position")
    first = places(one_pool, "train", 0)
    assert first == places(one_pool, "train", 0)
    assert len({tuple(batch) for batch in first}) == one_pool.batches_per_file
    assert first != places(one_pool, "train", 1)
    assert first != places(dataclasses.replace(one_pool, seed=2), "train", 0)


def test_the_split_is_part_of_the_key_of_randomness(
    scorer_config: Config, constant_engine: Any
) -> None:
    provider = SequenceScorerProvider(scorer_config, constant_engine)
    provider.pools = dict.fromkeys(provider.pools, provider.pools["train"])  # one text for all
    train, val = (provider.make_file(split, 0)["offset"].tolist() for split in ("train", "val"))
    assert train != val


def test_unknown_characters_are_never_masked_and_random_tokens_never_special(
    tmp_path: Path, constant_engine: Any, scorer_config: Config, mlm_config: Config
) -> None:
    for number in range(4):
        text = "the king \u00fc and his fool " * 40
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
    changes = {
        "corpus": str(tmp_path),
        "near_duplicates": 0.0,
        "max_unknown_share": 0.2,
        "corruption": "bert",
        "mask_probability_range": (1.0, 1.0),
        "untouched_share": 0.0,
    }
    config = dataclasses.replace(scorer_config, **changes)
    made = SequenceScorerProvider(config, constant_engine).make_file("train", 0)
    unknown = made["original_ids"] == constant_engine.tokenizer.unk_token_id
    assert unknown.any() and (made["token_labels"][unknown] == -100).all()
    assert (made["input_ids"][unknown] == made["original_ids"][unknown]).all()
    drawn = made["input_ids"][made["token_labels"] == 3]
    assert len(drawn) > 20 and not np.isin(drawn, constant_engine.special_ids).any()
    known = scorer_config.mlm_checkpoint_path  # a tokenizer that lacks the character
    mlm = dataclasses.replace(mlm_config, init_from_checkpoint=known, **changes)
    provider = CharDiffusionProvider(mlm)
    made = provider.make_file("train", 0)
    special = set(provider.tokenizer.all_special_ids) - {provider.tokenizer.mask_token_id}
    masked = made["labels"] >= 0
    assert (made["input_ids"] == provider.tokenizer.unk_token_id).any()
    assert masked.any() and not np.isin(made["labels"][masked], list(special)).any()
    assert not np.isin(made["input_ids"][masked], list(special)).any()


@pytest.fixture
def short_settings(tmp_path: Path) -> dict[str, Any]:
    """Settings of JSON lines whose documents have 5 to 60 characters, authors and domains."""
    whole = "the king and his fool went to a hall where night fell on stone; who speaks?"
    lines = [
        {
            "body": whole[n % 7 : n % 7 + 5 + n],
            "name": f"d{n}",
            "by": n // 2,
            "kind": "verse" if n % 3 else "law",
            "keep": [[0, 3]],
        }
        for n in range(56)
    ]
    path = tmp_path / "short.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return {
        "corpus": str(path),
        "text_column": "body",
        "id_column": "name",
        "group_column": "by",
        "domain_column": "kind",
        "protect_column": "keep",
        "near_duplicates": 0.0,
        "mask_probability_range": (0.5, 1.0),
        "batch_size": 40,
    }


def test_padding_of_short_documents_is_neither_masked_nor_counted(
    short_settings: dict[str, Any], scorer_config: Config, mlm_config: Config
) -> None:
    scorer = SequenceScorerProvider(dataclasses.replace(scorer_config, **short_settings))
    made = scorer.make_file("train", 0)
    pad = scorer.tokenizer.pad_token_id
    padding = made["original_ids"] == pad
    assert padding.any() and not padding[:, :2].any()
    assert (made["input_ids"] == pad).tolist() == padding.tolist()
    assert (made["token_labels"][padding] == -100).all()
    counted = made["token_labels"] >= 0
    shares = (made["token_labels"] > 0).sum(axis=1) / counted.sum(axis=1)
    assert made["synthenticity"] == pytest.approx(shares) and shares.max() <= 1
    mlm = CharDiffusionProvider(dataclasses.replace(mlm_config, **short_settings))
    made = mlm.make_file("train", 0)
    padding = made["input_ids"] == mlm.tokenizer.pad_token_id
    assert padding.any() and (made["labels"][padding] == -100).all()


def test_the_filling_model_does_not_look_at_padding(
    short_settings: dict[str, Any], scorer_config: Config
) -> None:
    config = dataclasses.replace(scorer_config, **{**short_settings, "batch_size": 200})
    provider = SequenceScorerProvider(config)
    engine, seen = provider.filler.models[None].engine, []
    fill = engine.fill

    def noted(ids: Any, mask: Any, **settings: Any) -> Any:
        settings["opinion"] = True
        seen.append((ids, mask, settings, fill(ids, mask, **settings)))
        return seen[-1][-1]

    engine.fill = noted
    provider.make_file("train", 0)
    ids, mask, settings, whole = seen[0]
    lengths = (ids != provider.tokenizer.pad_token_id).sum(axis=1)
    rows = np.flatnonzero((lengths < ids.shape[1]) & mask.any(axis=1))
    assert len(rows) > 2
    for row in rows:
        part = slice(row, row + 1), slice(lengths[row])
        keys = settings["sequence_keys"][row : row + 1]
        alone = fill(ids[part], mask[part], sequence_keys=keys)
        expected = alone.log_probability
        assert np.allclose(whole.log_probability[part], expected, atol=1e-3)
        assert (whole.ids[part] == alone.ids).all()


def test_columns_say_what_is_grouped_held_out_and_protected(
    short_settings: dict[str, Any], scorer_config: Config, constant_engine: Any
) -> None:
    changes = {**short_settings, "group_column": None, "test_domains": ("law",)}
    config = dataclasses.replace(scorer_config, **changes)
    provider = SequenceScorerProvider(config, constant_engine)
    names = {split: {int(n[1:]) for n in provider.pools[split].names} for split in provider.pools}
    law = {n for n in range(56) if n % 3 == 0}
    assert law < names["test"] and not law & (names["train"] | names["val"])
    made = provider.make_file("test", 0)
    at_start = made["offset"] == 0
    assert at_start.any() and (made["token_labels"][at_start, 1:4] <= 0).all()
    found = provider.meta("finite").made_with
    assert (found["test_domains"], found["text_column"]) == (["law"], "body")
    grouped = dataclasses.replace(scorer_config, **short_settings)
    for pool in SequenceScorerProvider(grouped, constant_engine).pools.values():
        numbers = {int(name[1:]) for name in pool.names}
        assert {n ^ 1 for n in numbers} == numbers  # authors wrote pairs
