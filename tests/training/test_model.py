"""The scorer: what it counts, what it sees, where it starts, what it refuses to load."""

import copy
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from synthenticity.config import Config
from synthenticity.errors import CompatibilityError, ModelError
from synthenticity.synthesis.checkpoints import load_mlm
from synthenticity.text.tokenization import build_character_tokenizer, load_tokenizer
from synthenticity.training.loss import LossModifiers
from synthenticity.training.model import (
    build_language_model,
    build_scorer,
    checkpoint_context_length,
    load_scorer,
)
from synthenticity.training.objective import LanguageModelObjective
from synthenticity.training.sequence_scorer import SequenceScorer

LENGTH = 24


@pytest.fixture(scope="module")
def tokenizer(mlm_path: Path) -> Any:
    return load_tokenizer(mlm_path)


@pytest.fixture
def scorer(scorer_config: Config, tokenizer: Any) -> SequenceScorer:
    """A scorer that starts from the MLM, its token head random, its [CLS] head untrained."""
    torch.manual_seed(0)
    return build_scorer(scorer_config, tokenizer).eval()


def sequences(tokenizer: Any, rows: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, len(tokenizer), (rows, LENGTH), generator=generator)
    ids[:, 0] = tokenizer.cls_token_id
    return ids


def say_something(scorer: SequenceScorer) -> None:
    """Give the n-grams a voice, which training would give them."""
    torch.nn.init.normal_(scorer.enriched.projection.weight, generator=torch.manual_seed(3))
    torch.nn.init.normal_(scorer.channel_head.weight, generator=torch.manual_seed(4))


def test_an_untrained_cls_head_leaves_the_mean_of_the_tokens(
    scorer: SequenceScorer, tokenizer: Any
) -> None:
    output = scorer(sequences(tokenizer))
    mean = output.token_logits[:, 1:].sigmoid().mean(dim=1)
    assert torch.allclose(output.synthenticity, mean, atol=1e-6)
    with torch.no_grad():
        scorer.cls_head.bias.fill_(1.0)
    assert (scorer(sequences(tokenizer)).synthenticity > output.synthenticity).all()


def test_special_and_padding_tokens_are_not_counted(scorer: SequenceScorer, tokenizer: Any) -> None:
    ids = sequences(tokenizer)
    ids[:, -4:] = tokenizer.pad_token_id
    counted = scorer(ids).counted
    assert (counted.sum(dim=1) == LENGTH - 5).all()
    assert not counted[:, 0].any() and not counted[:, -4:].any()


def test_padding_changes_nothing_and_visible_tokens_something(
    scorer: SequenceScorer, tokenizer: Any
) -> None:
    ids = sequences(tokenizer)
    padding = torch.full((len(ids), 8), tokenizer.pad_token_id)
    longer = torch.cat([ids, padding], dim=1)
    say_something(scorer)
    visible = (torch.arange(longer.shape[1]) < LENGTH).long().expand(len(ids), -1)
    alone, padded = scorer(ids), scorer(longer, visible)
    assert torch.allclose(alone.synthenticity, padded.synthenticity, atol=1e-5)
    assert torch.allclose(alone.token_logits, padded.token_logits[:, :LENGTH], atol=1e-5)
    longer[:, LENGTH:] = 5  # what stands in the padding is not seen
    assert torch.allclose(
        scorer(longer, visible).token_logits[:, :LENGTH], alone.token_logits, atol=1e-5
    )
    ids[:, -1] = ids[:, -1] % 5 + 4  # what stands in the text is
    other = scorer(ids).token_logits[:, 1:-1]
    assert (other != alone.token_logits[:, 1:-1]).any(dim=1).all()


def test_padding_is_found_in_a_batch_and_a_full_batch_has_no_mask(
    scorer: SequenceScorer, tokenizer: Any
) -> None:
    masks = []
    scorer.encoder.register_forward_pre_hook(
        lambda _module, _args, named: masks.append(named["attention_mask"]), with_kwargs=True
    )
    ids = sequences(tokenizer)
    longer = torch.nn.functional.pad(ids, (0, 8), value=tokenizer.pad_token_id)
    alone, padded = scorer(ids), scorer(longer)
    assert masks[0] is None and masks[1].tolist() == (longer != tokenizer.pad_token_id).tolist()
    assert torch.allclose(alone.synthenticity, padded.synthenticity, atol=1e-5)
    assert torch.allclose(alone.token_logits, padded.token_logits[:, :LENGTH], atol=1e-5)


def test_a_language_models_loss_does_not_depend_on_padding(mlm_path: Path, tokenizer: Any) -> None:
    model, objective = load_mlm(mlm_path), LanguageModelObjective(LossModifiers())
    ids = sequences(tokenizer)
    labels = torch.full_like(ids, -100)
    labels[:, 5:9] = ids[:, 5:9]
    pad = torch.nn.functional.pad
    batch = {"input_ids": ids, "labels": labels}
    longer = {
        "input_ids": pad(ids, (0, 8), value=tokenizer.pad_token_id),
        "labels": pad(labels, (0, 8), value=-100),
    }
    with torch.no_grad():
        losses = [float(objective.loss(model.eval(), each)) for each in (batch, longer)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_the_encoder_starts_as_the_mlms(scorer: SequenceScorer, mlm_path: Path) -> None:
    theirs = load_mlm(mlm_path).base_model.state_dict()
    assert len(theirs) > 10
    words = scorer.enriched.words
    scorer.encoder.set_input_embeddings(words)
    ours = scorer.encoder.state_dict()
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_untrained_ngrams_leave_the_encoder_as_it_was(
    scorer: SequenceScorer, scorer_config: Config, tokenizer: Any
) -> None:
    plain = build_scorer(dataclasses.replace(scorer_config, ngram_sizes=()), tokenizer).eval()
    plain.token_head.load_state_dict(scorer.token_head.state_dict())
    ids = sequences(tokenizer)
    assert plain.enriched is None
    assert torch.equal(plain(ids).token_logits, scorer(ids).token_logits)


def test_a_new_interval_reaches_as_far_to_both_sides_and_a_margin_widens_it(
    scorer: SequenceScorer, tokenizer: Any
) -> None:
    ids = sequences(tokenizer)
    said = scorer(ids)
    assert (said.low < said.synthenticity).all() and (said.synthenticity < said.high).all()
    scorer.config.interval_margin = 0.1
    wider = scorer(ids)
    assert torch.allclose(said.low - wider.low, torch.tensor(0.1))
    scorer.config.interval_margin = 5.0
    all_of_it = scorer(ids)
    assert all_of_it.low.tolist() == [0.0] * 3 and all_of_it.high.tolist() == [1.0] * 3


def test_the_plans_head_is_cls_and_nothing_else(scorer_config: Config, tokenizer: Any) -> None:
    scorer = build_scorer(dataclasses.replace(scorer_config, head="cls"), tokenizer).eval()
    output = scorer(sequences(tokenizer))
    assert scorer.token_head is None and output.token_logits is None
    assert torch.equal(output.synthenticity, torch.full((3,), 0.5))  # sigmoid of an untrained 0


def test_a_new_encoder_is_as_large_as_the_settings_say(tiny: Config, tokenizer: Any) -> None:
    for config in (tiny, dataclasses.replace(tiny, layers=3, attention_window=0)):
        model = build_language_model(config, tokenizer)
        assert model.config.num_hidden_layers == config.layers
        assert model.get_input_embeddings().weight.shape == (len(tokenizer), config.hidden_size)
        kinds = model.config.layer_types
        local = "sliding_attention" if config.attention_window else "full_attention"
        assert kinds == [local] * (config.layers - 1) + ["full_attention"]


def test_a_saved_scorer_comes_back_the_same(
    scorer: SequenceScorer, tokenizer: Any, tmp_path: Path
) -> None:
    scorer.save_pretrained(tmp_path)
    tokenizer.save_pretrained(str(tmp_path))
    again = load_scorer(tmp_path)
    ids = sequences(tokenizer)
    assert torch.equal(again(ids).token_logits, scorer(ids).token_logits)
    assert not again.training


def test_a_scorer_can_start_from_a_scorer_of_the_same_head_only(
    scorer_config: Config, scorer_path: Path, tokenizer: Any
) -> None:
    config = dataclasses.replace(scorer_config, init_from_checkpoint=str(scorer_path))
    found, wanted = build_scorer(config, tokenizer).state_dict(), load_scorer(scorer_path)
    assert all(torch.equal(found[name], value) for name, value in wanted.state_dict().items())
    with pytest.raises(CompatibilityError, match=r"head 'token'.*'cls'"):
        build_scorer(dataclasses.replace(config, head="cls"), tokenizer)


def test_a_checkpoint_of_another_alphabet_is_refused_naming_both(
    scorer_config: Config, mlm_path: Path
) -> None:
    other = build_character_tokenizer(["xyz"], block_size=33)
    words = rf"the tokenizer of {mlm_path} \(\d+ tokens\).*\(7 tokens\)"
    for build in (build_scorer, build_language_model):
        with pytest.raises(CompatibilityError, match=words):
            build(scorer_config, other)


def test_the_context_length_is_read_without_the_weights(
    mlm_path: Path, scorer_path: Path, tmp_path: Path
) -> None:
    assert checkpoint_context_length(mlm_path) == checkpoint_context_length(scorer_path) == 34
    with pytest.raises(ModelError):
        checkpoint_context_length(tmp_path / "none")


def _change_json(**values: object) -> Any:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}))

    return change


def _other_tokenizer(folder: Path) -> None:
    build_character_tokenizer(["xyz"], block_size=33).save_pretrained(str(folder))


def _cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_change_json(format_version=1), r"format version 1, this version .* reads 2"),
        (_change_json(model_type="bert"), "is not a scorer"),
        (_other_tokenizer, "its tokenizer .* is not the one that the scorer was trained with"),
        (_cut_weights, "no scorer can be loaded"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not a scorer"),
        (lambda folder: (folder / "config.json").unlink(), "holds no trained scorer"),
    ],
)
def test_what_is_no_usable_scorer_is_refused_in_words(
    damage: Any, words: str, scorer_path: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(scorer_path, tmp_path / "run", ignore=shutil.ignore_patterns("check*"))
    load_scorer(folder)
    damage(folder)
    with pytest.raises((ModelError, CompatibilityError), match=words):
        load_scorer(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ngram_sizes": ()}, r"ngram_sizes: that scorer, .* has \[2, 3, 4, 5\], the config asks"),
        ({"ngram_width": 3}, "ngram_width: that scorer, .* has 2"),
        ({"likelihood_model": "mlm"}, "likelihood_model: '.*', and that scorer, .*, reads none"),
    ],
)
def test_a_scorer_to_start_from_has_the_channels_that_the_config_asks_for(
    changes: dict[str, Any],
    said: str,
    scorer_path: Path,
    scorer_config: Config,
    tokenizer: Any,
) -> None:
    config = dataclasses.replace(scorer_config, init_from_checkpoint=str(scorer_path), **changes)
    with pytest.raises(CompatibilityError, match=said):
        build_scorer(config, tokenizer)


def test_a_scorer_is_copied_whatever_its_encoder_was_just_asked(
    scorer: SequenceScorer, tokenizer: Any
) -> None:
    scorer.encoder(input_ids=sequences(tokenizer))
    assert copy.deepcopy(scorer).enriched._last is None


@pytest.mark.parametrize("margin", [-5.0, -0.1, 0.0])
def test_a_narrow_interval_still_holds_what_is_said(
    margin: float, scorer: SequenceScorer, tokenizer: Any
) -> None:
    scorer.config.interval_margin = margin
    said = scorer(sequences(tokenizer))
    assert (said.low <= said.synthenticity).all() and (said.synthenticity <= said.high).all()
