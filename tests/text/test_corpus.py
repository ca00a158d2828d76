"""The corpus: stored whole, known by a digest, and what is left out is said."""

import re
from pathlib import Path

import pytest

from synthenticity.errors import CorpusError
from synthenticity.text.corpus import Corpus, load_corpus
from synthenticity.text.reading import CorpusSource, Document


def documents(count: int = 20) -> list[Document]:
    return [Document(f"d{n}", f"{n:03d} " * (20 + 7 * n)) for n in range(count)]


def test_documents_are_stored_with_all_that_is_said_of_them() -> None:
    corpus = Corpus(
        [
            Document("a", "to be", "will", "play", ((0, 2), (3, 5))),
            Document("b", "or not"),
            Document("c", "\u0394", None, "verse", ((0, 1),)),
            Document("d", "x", "will", "play"),
        ]
    )
    assert list(corpus.texts) == ["to be", "or not", "\u0394", "x"]
    assert list(corpus.names) == ["a", "b", "c", "d"]
    assert (list(corpus.groups), list(corpus.grouped)) == (["will", "will"], [0, 3])
    assert corpus.domains == {"play": 0, "verse": 1}
    assert list(corpus.domain_of) == [0, -1, 1, 0]
    assert corpus.spans().tolist() == [[0, 0, 2], [0, 3, 5], [2, 0, 1]]
    assert corpus.alphabet == "".join(sorted(set("to beor notx\u0394")))


def test_the_hash_knows_names_and_texts_but_no_order() -> None:
    some = documents(4)
    whole = Corpus(some).hash
    assert whole == Corpus(some[::-1]).hash
    assert whole != Corpus(some[:3]).hash
    assert whole != Corpus([*some[:3], Document("d3", some[3].text + "!")]).hash
    assert whole != Corpus([*some[:3], Document("e3", some[3].text)]).hash
    assert Corpus(some).hash_in_order == Corpus(some).hash_in_order
    assert Corpus(some).hash_in_order != Corpus(some[::-1]).hash_in_order


def test_what_is_left_out_is_shown_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = ['{"text": "good"}', *['{"text": null}'] * 9]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    corpus = load_corpus(CorpusSource(source=str(tmp_path)))
    assert list(corpus.texts) == ["good"]
    assert (
        f"{tmp_path / 'a.jsonl'}:2: a.jsonl:2 its text is null, not text; left out" in caplog.text
    )
    assert caplog.text.count("left out\n") == 5
    assert "9 documents are left out: its text is null, not text x 9" in caplog.text


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({}, "holds no .txt"),
        ({"a": "", "b": "\n"}, r"no document can be used \(is empty x 2\)"),
        ({"a": b"good \xff"}, r"a\.txt: byte 0xff at offset 5 is not UTF-8"),
    ],
)
def test_unusable_corpora_are_refused(
    texts: dict[str, bytes | str], words: str, tmp_path: Path
) -> None:
    for name, text in texts.items():
        path = tmp_path / f"{name}.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CorpusError, match=words):
        load_corpus(CorpusSource(source=str(tmp_path)))


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="is empty"):
        load_corpus(CorpusSource(source=str(tmp_path / "a.csv")))


def test_the_default_corpus_is_38_plays_without_marks() -> None:
    plays = load_corpus(CorpusSource(source="shakespeare"))
    assert len(set(plays.names)) == len(plays) == 38
    assert plays.texts.lengths.sum() > 4_500_000
    for name, text in zip(plays.names, plays.texts, strict=True):
        assert not re.search(r"[*_\\]|^#|&\w+;| $", text, flags=re.MULTILINE), name
        if name == "hamlet":
            assert "To be, or not to be" in text
