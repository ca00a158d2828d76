"""`Scorer`: a text's score is its own, whole, and the same in any company."""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import BertConfig
from transformers.utils import logging as bars

from synthenticity.errors import CompatibilityError, ConfigError, CorpusError, ModelError
from synthenticity.scoring.score import Score
from synthenticity.scoring.scorer import Scorer
from synthenticity.scoring.windows import cut_windows
from synthenticity.text.tokenization import (
    build_character_tokenizer,
    encode_with_offsets,
    special_ids,
)
from synthenticity.training.model import load_scorer
from synthenticity.training.sequence_scorer import SequenceScorer, SequenceScorerConfig

SENTENCE = "the king and his fool went to a hall where night fell on stone; "


@pytest.fixture(scope="module")
def scorer(scorer_path: Path) -> Scorer:
    return Scorer.from_pretrained(scorer_path, device="cpu")


def text_of(characters: int) -> str:
    return (SENTENCE * (characters // len(SENTENCE) + 1))[:characters]


@pytest.mark.parametrize("characters", [1, 31, 32, 33, 100])
def test_the_model_sees_cls_and_every_character_also_of_a_full_window(
    scorer: Scorer, characters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan's judge cut its own [CLS] off a text as long as a window."""
    seen: list[torch.Tensor] = []
    forward = scorer.model.forward

    def watch(input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> object:
        seen.append(input_ids)
        return forward(input_ids, attention_mask)

    monkeypatch.setattr(scorer.model, "forward", watch)
    text = text_of(characters)
    score = scorer.score(text)
    assert all((ids[:, 0] == scorer.tokenizer.cls_token_id).all() for ids in seen)
    assert all(ids.shape[1] <= scorer.model.config.block_size for ids in seen)
    last = scorer.tokenizer.convert_tokens_to_ids(text[-1])
    assert any((ids[:, 1:] == last).any() for ids in seen)
    assert score.probabilities.shape == (characters,)
    assert "".join(text[start:end] for start, end in score.offsets) == text


def same(one: Score, other: Score) -> bool:
    return (
        one.text == other.text
        and one.synthenticity == other.synthenticity
        and one.interval == other.interval
        and np.array_equal(one.probabilities, other.probabilities)
        and np.array_equal(one.offsets, other.offsets)
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_text_scores_the_same_to_the_bit_in_any_company(scorer_path: Path, dtype: str) -> None:
    scorer = Scorer.from_pretrained(scorer_path, device="cpu", dtype=dtype)
    texts = [text_of(n)[n % 7 :] + "on" for n in (3, 200, 31, 77, 9, 33, 16, 15, 200, 64, 5, 46)]
    alone = [scorer.score(text) for text in texts]
    threads = torch.get_num_threads()
    try:
        for count, batch_size in ((1, 1), (1, 3), (2, 8), (2, None)):
            torch.set_num_threads(count)
            together = scorer.score(texts * 3, batch_size=batch_size)
            assert all(map(same, together, alone * 3))
    finally:
        torch.set_num_threads(threads)
    assert scorer.score([]) == []


def test_texts_are_read_as_scores_are_asked_for(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthenticity.scoring.scorer.CHUNK_CHARACTERS", 100)
    texts = [text_of(n) for n in (60, 50, 3, 120, 7, 60)]
    read: list[int] = []

    def reading() -> Iterator[str]:
        for number, text in enumerate(texts):
            read.append(number)
            yield text

    scores = scorer.score(reading())
    assert isinstance(scores, Iterator) and read == []
    assert next(scores).text == texts[0] and read == [0, 1]
    assert [score.text for score in scores] == texts[1:]
    monkeypatch.undo()
    assert all(map(same, scorer.score(iter(texts)), map(scorer.score, texts)))


@pytest.mark.parametrize("characters", [1, 6, 100])
@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("", "is empty"),
        (" \n ", "is blank"),
        ("\u05e9" * 40, "mostly unknown tokens: 100%"),
        ("\u05e9" * 3 + "the king" * 5, "wrong alphabet for this scorer: 7%"),
        ("the", "too short: 3 tokens"),
    ],
)
def test_a_scorer_abstains_and_says_why_and_scores_what_stands_beside(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch, characters: int, bad: str, why: str
) -> None:
    monkeypatch.setattr("synthenticity.scoring.scorer.CHUNK_CHARACTERS", characters)
    good = [text_of(40), text_of(33)]
    first, abstained, last = scorer.score([good[0], bad, good[1]])
    assert same(first, scorer.score(good[0])) and same(last, scorer.score(good[1]))
    assert first.abstained is None and abstained.abstained is not None
    assert abstained.abstained.startswith(why)
    assert abstained.verdict is None and len(abstained.offsets) == len(bad)
    known = any(character in SENTENCE for character in bad)
    assert np.isnan(abstained.synthenticity) != known
    assert (abstained.to_json()["synthenticity"] is None) != known
    assert abstained.interval == (0, 1) or known


def test_what_the_scorer_does_not_know_weighs_nothing(scorer: Scorer) -> None:
    """A window of unknown tokens alone says nothing of the text."""
    text, foreign = text_of(32), "\u05e9" * 96
    whole = scorer.score(text + foreign)
    windows = cut_windows(128, 32)
    values = [scorer.score((text + foreign)[w.start : w.end]).synthenticity for w in windows]
    sizes = [max(0, min(w.own_end, 32) - w.own_start) for w in windows]
    known = [(value, size) for value, size in zip(values, sizes, strict=True) if size]
    expected = sum(value * size for value, size in known) / 32
    assert whole.synthenticity == pytest.approx(expected, abs=1e-6)


def test_a_score_at_an_end_is_valid_json(scorer: Scorer) -> None:
    score = dataclasses.replace(scorer.score(text_of(40)), uncalibrated=1.0)
    assert score.logit == np.inf and score.facts()["logit"] is None
    assert json.loads("".join(score.iter_json()), parse_constant=pytest.fail) == score.to_json()


def test_what_is_too_short_is_the_users_to_say(scorer_path: Path) -> None:
    scorer = Scorer.from_pretrained(scorer_path, device="cpu", min_tokens=3)
    assert scorer.score("the").abstained is None and scorer.score("th").abstained is not None
    with pytest.raises(ConfigError, match="min_tokens: -1 is negative"):
        Scorer.from_pretrained(scorer_path, device="cpu", min_tokens=-1)


def test_a_scorer_is_a_function_from_texts_to_numbers(scorer: Scorer) -> None:
    texts = [text_of(40), "", text_of(100)]
    values = scorer(texts)
    assert values[::2] == [scorer.score(text).synthenticity for text in texts[::2]]
    assert np.isnan(values[1]) and type(values[0]) is float
    frame = pd.DataFrame({"text": texts})
    frame["synthenticity"] = scorer(frame["text"], batch_size=1)
    assert frame["synthenticity"][2] == values[2]
    with pytest.raises(CorpusError, match="texts: is one string"):
        scorer("the king")
    with pytest.raises(ConfigError, match="batch_size: 0 is not positive"):
        scorer(texts, batch_size=0)


def test_the_empty_list_has_no_scores(scorer: Scorer) -> None:
    assert scorer.score([]) == [] and list(scorer.score(iter([]))) == []


def test_spans_and_sentences_tell_where_the_tokens_are(scorer: Scorer) -> None:
    text = "The king went. The fool fell!  Night"
    score = dataclasses.replace(
        scorer.score(text),
        token_logits=np.array([-9.0] * 4 + [9.0] * 11 + [-9.0] * 16 + [9.0] * 5, dtype=np.float32),
    )
    assert [span.text for span in score.spans] == ["king went. ", "Night"]
    sentences = score.sentences
    assert "".join(sentence.text for sentence in sentences) == text
    assert sentences[0].text == "The king went. "
    assert sentences[0].probability == pytest.approx(11 / 15, abs=1e-3)
    for part in (*score.spans, *sentences):
        assert text[part.start : part.end] == part.text


def test_what_is_replaced_is_the_share_that_fills_changed(scorer: Scorer) -> None:
    share = scorer.model.config.replaced_share
    score = scorer.score(text_of(40))
    assert 0 < share < 1 and score.replaced == share * score.synthenticity


def test_logits_are_the_models_own(scorer: Scorer) -> None:
    text = text_of(32)
    ids = [scorer.tokenizer.cls_token_id, *scorer.tokenizer.convert_tokens_to_ids(list(text))]
    with torch.no_grad():
        output = scorer.model(torch.tensor([ids]))
    score = scorer.score(text)
    assert score.logit == pytest.approx(output.logit.item(), abs=1e-5)
    assert score.token_logits.dtype == np.float32
    assert np.allclose(score.token_logits, output.token_logits[0, 1:], atol=1e-5)


def test_a_window_of_text_scores_as_the_model_itself_says(
    scorer: Scorer, scorer_path: Path
) -> None:
    text = text_of(32)
    ids = [scorer.tokenizer.cls_token_id, *scorer.tokenizer.convert_tokens_to_ids(list(text))]
    with torch.no_grad():
        output = load_scorer(scorer_path)(torch.tensor([ids]))
    score = scorer.score(text)
    assert score.synthenticity == pytest.approx(output.synthenticity.item(), abs=1e-6)
    assert np.allclose(score.probabilities, output.token_logits.sigmoid()[0, 1:], atol=1e-6)


def test_bfloat16_scores_nearly_the_same_and_rounds_no_score(
    scorer: Scorer, scorer_path: Path
) -> None:
    fast = Scorer.from_pretrained(scorer_path, device="cpu", dtype="bfloat16")
    texts = [text_of(300)[n : n + 70] for n in range(64)]
    exact, near = (np.array([s.synthenticity for s in one.score(texts)]) for one in (scorer, fast))
    assert 0 < np.abs(exact - near).max() < 0.02
    assert len(np.unique(near)) == len(np.unique(exact))
    with pytest.raises(ConfigError, match=r"dtype: 'int8' is none of auto, float32, bfloat16"):
        Scorer.from_pretrained(scorer_path, dtype="int8")
    with pytest.raises(ConfigError, match="dtype: 'int8' is none of"):
        Scorer(load_scorer(scorer_path), scorer.tokenizer, dtype="int8")


def test_words_of_pieces_are_scored_at_the_characters_they_stand_at(word_tokenizer: Any) -> None:
    scorer = Scorer(word_scorer(word_tokenizer), word_tokenizer)
    texts = ["the king [MASK] went", "fool", "night fell on stone; " * 9]
    for text, score in zip(texts, scorer.score(texts), strict=True):
        ids, offsets = encode_with_offsets(word_tokenizer, text)
        assert np.array_equal(score.offsets, offsets) and len(score.probabilities) == len(ids)
        assert same(score, scorer.score(text))


def test_a_scorer_without_token_head_scores_texts_alone(word_tokenizer: Any) -> None:
    model = word_scorer(word_tokenizer, head="cls")
    torch.nn.init.normal_(model.cls_head.weight)
    scorer = Scorer(model, word_tokenizer)
    texts = ["the king", "night fell on stone " * 9, "fool"]
    together = scorer.score(texts)
    assert all(score.probabilities is None for score in together)
    assert [s.synthenticity for s in together] == [scorer.score(t).synthenticity for t in texts]
    assert len({score.synthenticity for score in together}) == 3


def word_scorer(tokenizer: Any, head: str = "token") -> SequenceScorer:
    encoder = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=20,
    )
    torch.manual_seed(0)
    config = SequenceScorerConfig(
        encoder.to_dict(),
        head=head,
        special_token_ids=special_ids(tokenizer).tolist(),
        block_size=20,
    )
    return SequenceScorer(config)


def test_the_interval_is_the_models_own(scorer: Scorer) -> None:
    text = text_of(32)
    ids = scorer.tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    cls = torch.tensor([[scorer.tokenizer.cls_token_id]])
    with torch.no_grad():
        said = scorer.model(torch.cat([cls, ids], dim=1))
    low, high = scorer.score(text).interval
    assert (low, high) == pytest.approx((said.low.item(), said.high.item()), abs=1e-5)
    assert 0 <= low <= scorer.score(text).synthenticity <= high <= 1


def test_a_long_text_is_the_mean_of_its_windows_by_what_they_count(scorer: Scorer) -> None:
    text = text_of(48)  # windows 0-32 and 16-48, which count 24 characters each
    parts = [scorer.score(text[:32]), scorer.score(text[16:])]
    whole = scorer.score(text)
    expected = (parts[0].synthenticity + parts[1].synthenticity) / 2
    assert whole.synthenticity == pytest.approx(expected, abs=1e-6)
    ends = np.mean([part.interval for part in parts], axis=0)
    assert whole.interval == pytest.approx(ends, abs=1e-6)
    joined = np.concatenate([parts[0].probabilities[:24], parts[1].probabilities[8:]])
    assert np.allclose(whole.probabilities, joined, atol=1e-5)


@pytest.mark.parametrize(
    "text", ["\U0001f642 king", "the\r\nking\x00", "שלום king", "a [MASK][CLS]"]
)
def test_any_text_is_scored_and_what_is_unknown_is_said(scorer: Scorer, text: str) -> None:
    score = scorer.score(text)
    known = set(scorer.tokenizer.get_vocab())
    assert score.unknown_share == pytest.approx(sum(c not in known for c in text) / len(text))
    assert len(score.offsets) == len(text) and 0 <= score.synthenticity <= 1


def test_a_score_becomes_plain_json_with_a_record_a_token(scorer: Scorer) -> None:
    text = text_of(40)
    content = json.loads(json.dumps(scorer.score(text).to_json()))
    assert "".join(token["text"] for token in content["tokens"]) == text
    assert [token["start"] for token in content["tokens"]] == list(range(40))
    assert content["characters"] == 40


def test_what_is_no_string_is_no_text(scorer: Scorer) -> None:
    scores = scorer.score(iter(["the king", None]))  # type: ignore[list-item]
    assert same(next(scores), scorer.score("the king"))
    with pytest.raises(CorpusError, match="text 1 is of type NoneType"):
        next(scores)
    with pytest.raises(CorpusError, match="text 1 holds a lone surrogate"):
        scorer(["the king", "the \ud800 king"])
    with pytest.raises(CorpusError, match=r"got NoneType\. Give a string, or several"):
        scorer.score(None)  # type: ignore[call-overload]


def test_loading_draws_no_bars_and_leaves_those_of_others(
    scorer_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    drawn = bars.is_progress_bar_enabled()
    bars.enable_progress_bar()
    try:
        Scorer.from_pretrained(scorer_path, device="cpu")
        assert "Loading" not in capfd.readouterr().err and bars.is_progress_bar_enabled()
        SequenceScorer.from_pretrained(str(scorer_path))
        assert "Loading" in capfd.readouterr().err  # so it would have been seen
    finally:
        if not drawn:
            bars.disable_progress_bar()


def test_what_is_no_scorer_is_refused(mlm_path: Path, scorer_path: Path, tmp_path: Path) -> None:
    for path in (tmp_path, mlm_path):
        with pytest.raises(ModelError):
            Scorer.from_pretrained(path)
    with pytest.raises(ConfigError, match="device: warp is not there"):
        Scorer.from_pretrained(scorer_path, device="warp")
    other = shutil.copytree(scorer_path, tmp_path / "x", ignore=shutil.ignore_patterns("check*"))
    build_character_tokenizer(["xyz"], block_size=33).save_pretrained(str(other))
    with pytest.raises(CompatibilityError, match="its tokenizer"):
        Scorer.from_pretrained(other)


def test_windows_weigh_as_much_as_they_count(scorer: Scorer) -> None:
    text = text_of(70)
    windows = cut_windows(70, 32)
    sizes = [window.own_end - window.own_start for window in windows]
    assert len(set(sizes)) > 1
    values = [scorer.score(text[window.start : window.end]).synthenticity for window in windows]
    expected = np.dot(values, sizes) / 70
    assert scorer.score(text).synthenticity == pytest.approx(expected, abs=1e-6)
    assert abs(expected - np.mean(values)) > 1e-5


BOOK = """
import resource, sys
import numpy as np
from synthenticity.scoring.scorer import Scorer

def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

scorer = Scorer.from_pretrained(sys.argv[1], device="cpu")
scorer.score("the king went to a hall " * 4000)
text = "the king and his fool went to a hall where night fell on stone; " * 78_200
before = megabytes()
score = scorer.score(text)
places = np.arange(len(text))
assert (score.offsets == np.stack([places, places + 1], axis=1)).all()
assert np.isfinite(score.token_logits).all()
assert sum(len(piece) for piece in score.iter_json()) > 50 * len(text)
print(len(text), megabytes() - before)
"""


def test_five_megabytes_are_scored_whole_in_bounded_memory(scorer_path: Path) -> None:
    command = [sys.executable, "-c", BOOK, str(scorer_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    characters, megabytes = map(float, done.stdout.split())
    assert characters > 5e6 and megabytes < 600
