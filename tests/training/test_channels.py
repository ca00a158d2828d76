"""Channels: n-grams of the text alone, likelihoods of a model that is never trained."""

import dataclasses
from pathlib import Path

import pytest
import torch

from synthenticity.config import Config
from synthenticity.errors import CompatibilityError
from synthenticity.synthesis.checkpoints import load_mlm
from synthenticity.text.tokenization import load_tokenizer
from synthenticity.training.enriched_embedding import EnrichedEmbedding
from synthenticity.training.model import build_scorer, load_scorer
from synthenticity.training.ngram_channel import NgramChannel, ngram_buckets
from synthenticity.training.train import train

PAD, CLS = 0, 1


def embedding(**changes: object) -> EnrichedEmbedding:
    torch.manual_seed(0)
    options = {"sizes": (2, 3), "bits": 10, "width": 4, "dropout": 0.0, "outside": (PAD, CLS)}
    words = torch.nn.Embedding(20, 8)
    return EnrichedEmbedding(words, [NgramChannel(**(options | changes))]).eval()


def texts(rows: int = 4, length: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(2, 20, (rows, length), generator=generator)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_a_bucket_depends_on_its_ngram_and_on_nothing_else(size: int) -> None:
    ids = texts()
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    buckets = ngram_buckets(ids, size, 16)
    for place in range(before, ids.shape[1] - after):
        alone = ids[:, place - before : place + after + 1]
        assert torch.equal(ngram_buckets(alone, size, 16)[:, before], buckets[:, place])
        for changed in range(size):
            other = alone.clone()
            other[:, changed] += 1
            assert (ngram_buckets(other, size, 16)[:, before] != buckets[:, place]).any()


@pytest.mark.parametrize("size", [2, 5])
def test_buckets_are_evenly_filled(size: int) -> None:
    ids = torch.randint(1, 60, (200, 256), generator=torch.Generator().manual_seed(2))
    different = len({tuple(row.tolist()) for row in ids.unfold(1, size, 1).reshape(-1, size)})
    counts = torch.bincount(ngram_buckets(ids, size, 12).flatten(), minlength=2**12)
    hit = (counts > 0).sum().item()
    assert int(counts.sum()) == ids.numel()
    expected = 2**12 * (1 - (1 - 2**-12) ** different)  # as if thrown in
    assert hit == pytest.approx(expected, rel=0.05)


def test_big_ids_do_not_overflow() -> None:
    ids = torch.full((1, 6), 2**31 - 3)
    assert 0 <= int(ngram_buckets(ids, 5, 24).min()) <= int(ngram_buckets(ids, 5, 24).max()) < 2**24


def test_cls_and_padding_are_no_text() -> None:
    made, ids = embedding(), texts(1)
    framed = torch.cat([torch.tensor([[CLS]]), ids, torch.full((1, 4), PAD)], dim=1)
    torch.testing.assert_close(made(framed)[:, 1:13], made(ids), rtol=0, atol=1e-6)
    naive = embedding(outside=())
    assert not torch.allclose(naive(framed)[:, 1:13], naive(ids), atol=1e-3)


def test_ngrams_that_say_nothing_leave_the_words() -> None:
    made, ids = embedding(), texts()
    assert not torch.equal(made(ids), made.words(ids))
    made.forget()
    assert torch.equal(made(ids), made.words(ids))


def test_training_leaves_out_whole_ngrams_and_scoring_none() -> None:
    made, ids = embedding(dropout=0.5, sizes=(2,)), texts(8, 64)
    full = made(ids) - made.words(ids) - made.projection.bias
    assert torch.equal(made(ids), made(ids))
    made.train()
    some = made(ids) - made.words(ids) - made.projection.bias
    left_out = some.abs().sum(dim=2) < 1e-6
    assert 0.4 < left_out.float().mean() < 0.6
    torch.testing.assert_close(some[~left_out], 2 * full[~left_out], rtol=1e-4, atol=1e-5)


def test_what_was_added_is_taken_once_and_only_of_the_same_ids() -> None:
    made, ids = embedding(dropout=0.5).train(), texts()
    made(ids)
    _, added = made._last
    assert made.take_features(ids) is added
    assert made._last is None
    made(ids)
    assert not torch.equal(made.take_features(ids.clone()), added)  # drawn anew
    assert made._last is None


@pytest.fixture(scope="module", params=["masked", "masked once", "causal"])
def reading_config(
    request: pytest.FixtureRequest,
    scorer_config: Config,
    mlm_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Config:
    """Settings of a scorer that reads the likelihoods of a model."""
    model, passes = mlm_path, 2
    if request.param == "masked once":
        passes = 0
    if request.param == "causal":
        from transformers import LlamaConfig, LlamaForCausalLM

        tokenizer = load_tokenizer(mlm_path)
        model = tmp_path_factory.mktemp("causal")
        torch.manual_seed(0)
        LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
                pad_token_id=tokenizer.pad_token_id,
                tie_word_embeddings=True,
            )
        ).save_pretrained(model)
        tokenizer.save_pretrained(model)
    return dataclasses.replace(scorer_config, likelihood_model=str(model), likelihood_passes=passes)


def test_likelihoods_are_read_by_the_model_itself_and_it_is_never_trained(
    reading_config: Config, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(reading_config.mlm_checkpoint_path)
    scorer = build_scorer(reading_config, tokenizer)
    before = {
        name: tensor.clone() for name, tensor in scorer.state_dict().items() if "reader" in name
    }
    if (
        "LlamaForCausalLM"
        not in (Path(reading_config.likelihood_model) / "config.json").read_text()
    ):
        theirs = load_mlm(reading_config.likelihood_model).state_dict()
        (channel,) = scorer.enriched.channels[1:]
        ours = channel.reader.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    train(reading_config, tmp_path / "run")
    trained = load_scorer(tmp_path / "run")
    after = trained.state_dict()
    assert len(before) > 5
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    layer = "encoder.embeddings.tok_embeddings.channels.1.layer.weight"
    assert not torch.equal(after[layer], scorer.state_dict()[layer])


def test_likelihoods_change_what_is_said_and_padding_does_not(
    reading_config: Config,
) -> None:
    tokenizer = load_tokenizer(reading_config.mlm_checkpoint_path)
    scorer = build_scorer(reading_config, tokenizer).eval()
    torch.manual_seed(2)
    torch.nn.init.normal_(scorer.channel_head.weight)
    torch.nn.init.normal_(scorer.enriched.projection.weight)
    ids = torch.randint(4, len(tokenizer), (3, 24), generator=torch.Generator().manual_seed(0))
    ids[:, 0] = tokenizer.cls_token_id
    longer = torch.nn.functional.pad(ids, (0, 8), value=tokenizer.pad_token_id)
    alone, padded = scorer(ids), scorer(longer)
    assert torch.allclose(alone.token_logits, padded.token_logits[:, :24], atol=1e-4)
    (_, channel) = scorer.enriched.channels
    assert (channel.likelihoods(ids)[:, 2:].abs().sum(dim=2) > 0).all()
    assert (channel.likelihoods(ids)[:, 0] == 0).all()
    with torch.no_grad():
        for parameter in channel.reader.parameters():
            parameter.zero_()
    assert not torch.allclose(scorer(ids).token_logits, alone.token_logits, atol=1e-3)


def test_freezing_the_encoder_freezes_its_channels_and_thawing_leaves_the_reader(
    reading_config: Config,
) -> None:
    tokenizer = load_tokenizer(reading_config.mlm_checkpoint_path)
    scorer = build_scorer(reading_config, tokenizer)
    scorer.freeze_encoder(True)
    assert not any(each.requires_grad for each in scorer.enriched.parameters())
    scorer.freeze_encoder(False)
    moving = {name for name, each in scorer.enriched.named_parameters() if each.requires_grad}
    assert moving and not any("reader" in name for name in moving)
    assert any("layer" in name for name in moving) and any("table" in name for name in moving)


def test_a_model_that_cannot_read_so_far_is_refused_before_anything_is_built(
    scorer_config: Config, mlm_path: Path, tmp_path: Path
) -> None:
    from transformers import BertConfig, BertForMaskedLM

    tokenizer = load_tokenizer(mlm_path)
    longest = scorer_config.block_size - 1  # the character tokenizer's models see no [CLS]
    for places, fits in ((longest, True), (longest - 1, False)):
        folder = tmp_path / str(places)
        BertForMaskedLM(
            BertConfig(
                vocab_size=len(tokenizer),
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
                max_position_embeddings=places,
                pad_token_id=tokenizer.pad_token_id,
            )
        ).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        config = dataclasses.replace(scorer_config, likelihood_model=str(folder), max_iters=1)
        if fits:
            train(config, tmp_path / "run")
        else:
            with pytest.raises(CompatibilityError, match=f"reads {longest}. Make shorter"):
                train(config, tmp_path / "other")
            assert not (tmp_path / "other").exists()
