"""`Scorer`: a text's score is its own, whole, and the same in any company."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from synthenticity.errors import CompatibilityError, ConfigError, CorpusError, ModelError
from synthenticity.scoring.scorer import Scorer
from synthenticity.scoring.windows import cut_windows
from synthenticity.text.tokenization import build_character_tokenizer

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


def test_a_text_scores_the_same_alone_in_company_and_at_any_batch_size(scorer: Scorer) -> None:
    texts = [text_of(n) for n in (5, 200, 32, 77, 200)]
    together = scorer.score(texts, batch_size=4)
    for text, among in zip(texts, together, strict=True):
        alone = scorer.score(text)
        assert among.text == text
        assert among.synthenticity == pytest.approx(alone.synthenticity, abs=1e-5)
        assert np.allclose(among.probabilities, alone.probabilities, atol=1e-5)
    assert scorer.score([]) == []


def test_a_window_of_text_scores_as_the_model_itself_says(scorer: Scorer) -> None:
    text = text_of(32)
    ids = [scorer.tokenizer.cls_token_id, *scorer.tokenizer.convert_tokens_to_ids(list(text))]
    with torch.no_grad():
        output = scorer.model(torch.tensor([ids]))
    score = scorer.score(text)
    assert score.synthenticity == pytest.approx(output.synthenticity.item(), abs=1e-6)
    assert np.allclose(score.probabilities, output.token_logits.sigmoid()[0, 1:], atol=1e-6)


def test_a_long_text_is_the_mean_of_its_windows_by_what_they_count(scorer: Scorer) -> None:
    text = text_of(48)  # windows 0-32 and 16-48, which count 24 characters each
    parts = [scorer.score(text[:32]), scorer.score(text[16:])]
    whole = scorer.score(text)
    expected = (parts[0].synthenticity + parts[1].synthenticity) / 2
    assert whole.synthenticity == pytest.approx(expected, abs=1e-6)
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


def test_empty_texts_are_refused_by_their_number(scorer: Scorer) -> None:
    with pytest.raises(CorpusError, match="text 1 is empty"):
        scorer.score(["the king", ""])


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
