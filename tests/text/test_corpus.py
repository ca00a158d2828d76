"""Documents, pools and windows: nothing lost, nothing shared, nothing depends on the disk."""

import re
from pathlib import Path

import numpy as np
import pytest

from synthenticity.errors import CorpusError
from synthenticity.text.corpus import (
    POOLS,
    Document,
    TokenPool,
    corpus_hash,
    load_corpus,
    split_pools,
)
from synthenticity.text.tokenization import build_character_tokenizer

SHARES = (0.42, 0.42, 0.08, 0.08)


def folder_of(tmp_path: Path, **texts: bytes | str) -> str:
    for name, text in texts.items():
        path = tmp_path / f"{name}.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(tmp_path)


def documents(count: int = 20) -> list[Document]:
    return [Document(f"d{n}", f"{n:03d} " * (20 + 7 * n)) for n in range(count)]


def test_a_file_is_a_document_and_keeps_every_character(tmp_path: Path) -> None:
    text = "a\r\nb\tc\u2028\u00e9\U0001f3ad\n\n"
    path = tmp_path / "x.md"
    path.write_bytes(text.encode())
    assert load_corpus(str(path)) == [Document("x.md", text)]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    assert load_corpus(folder_of(tmp_path, a=b"\xef\xbb\xbfhello"))[0].text == "hello"


def test_a_folder_is_read_in_depth_and_by_ending(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.text").write_text("b", encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\xff")
    folder_of(tmp_path, a="a")
    assert {d.id for d in load_corpus(str(tmp_path))} == {"a.txt", "sub/b.text"}


def test_empty_files_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = load_corpus(folder_of(tmp_path, a="text", b=" \n"))
    assert [d.id for d in found] == ["a.txt"]
    assert "b.txt is empty" in caplog.text


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({}, "holds no .txt"),
        ({"a": "", "b": "\n"}, "is empty"),
        ({"a": b"good \xff"}, r"a\.txt: byte 0xff at offset 5 is not UTF-8"),
    ],
)
def test_unusable_corpora_are_refused(
    texts: dict[str, bytes | str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(CorpusError, match=words):
        load_corpus(folder_of(tmp_path, **texts))


def test_a_missing_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="does not exist"):
        load_corpus(str(tmp_path / "none"))


def test_the_hash_knows_names_and_texts_but_no_order() -> None:
    some = documents(4)
    assert corpus_hash(some) == corpus_hash(some[::-1])
    assert corpus_hash(some) != corpus_hash(some[:3])
    assert corpus_hash(some) != corpus_hash([*some[:3], Document("d3", some[3].text + "!")])
    assert corpus_hash(some) != corpus_hash([*some[:3], Document("e3", some[3].text)])


def test_pools_are_disjoint_whole_and_near_their_shares() -> None:
    some = documents(60)
    pools = split_pools(some, SHARES, seed=5)
    names = [{d.id for d in pools[pool]} for pool in POOLS]
    assert sum(map(len, names)) == len(set.union(*names)) == 60
    total = sum(len(d.text) for d in some)
    for pool, share in zip(POOLS, SHARES, strict=True):
        assert sum(len(d.text) for d in pools[pool]) / total == pytest.approx(share, abs=0.04)


def test_pools_depend_on_seed_and_names_and_not_on_order() -> None:
    some = documents()
    assert split_pools(some, SHARES, seed=1) == split_pools(some[::-1], SHARES, seed=1)
    assert split_pools(some, SHARES, seed=1) != split_pools(some, SHARES, seed=2)


@pytest.mark.parametrize("count", [4, 5, 7])
def test_every_pool_gets_a_document(count: int) -> None:
    for seed in range(20):
        pools = split_pools(documents(count), SHARES, seed=seed)
        assert all(pools[pool] for pool in POOLS)


def test_too_few_documents_are_refused_with_the_way_out() -> None:
    with pytest.raises(CorpusError, match='split_by = "position"'):
        split_pools(documents(3), SHARES)


def test_the_plans_split_by_position_cuts_every_document() -> None:
    some = documents(2)
    pools = split_pools(some, (0.45, 0.45, 0.05, 0.05), split_by="position")
    for index, document in enumerate(some):
        parts = [pools[pool][index] for pool in POOLS]
        assert "".join(part.text for part in parts) == document.text
        for part in parts:
            name, offset = part.id.split("@")
            assert name == document.id
            assert document.text[int(offset) :].startswith(part.text)


def test_one_training_pool_can_serve_both() -> None:
    pools = split_pools(documents(), SHARES, shared_training_pool=True, seed=1)
    apart = split_pools(documents(), SHARES, seed=1)
    assert pools["mlm"] == pools["scorer"] == apart["mlm"] + apart["scorer"]
    assert pools["val"] == apart["val"]


def token_pool(some: list[Document], window: int) -> TokenPool:
    tokenizer = build_character_tokenizer((d.text for d in some), block_size=window)
    return TokenPool(some, tokenizer, window)


def test_windows_lie_where_they_say_and_never_across_documents() -> None:
    some = [Document("a", "abcdefgh"), Document("short", "xy"), Document("b", "ijklmnop")]
    pool = token_pool(some, 5)
    windows = pool.sample_windows(np.random.default_rng(0), 500)
    texts = {d.id: d.text for d in some}
    tokenizer = build_character_tokenizer(texts.values(), block_size=5)
    for ids, name, offset in zip(windows.ids, windows.documents, windows.offsets, strict=True):
        text = "".join(tokenizer.convert_ids_to_tokens(ids.tolist()))
        assert text == texts[name][offset : offset + 5] and len(text) == 5


def test_every_position_is_equally_likely() -> None:
    pool = token_pool([Document("a", "abcdefgh"), Document("b", "ijklmn")], 5)
    windows = pool.sample_windows(np.random.default_rng(0), 6000)
    places = list(zip(windows.documents, windows.offsets.tolist(), strict=True))
    counts = {place: places.count(place) for place in set(places)}
    assert set(counts) == {("a", 0), ("a", 1), ("a", 2), ("a", 3), ("b", 0), ("b", 1)}
    assert all(850 < count < 1150 for count in counts.values())


def test_texts_shorter_than_a_window_are_refused() -> None:
    with pytest.raises(CorpusError, match=r"needs 9 tokens.*\(a\) has 8"):
        token_pool([Document("a", "abcdefgh"), Document("b", "ij")], 9)


def test_the_default_corpus_is_38_plays_without_marks() -> None:
    plays = load_corpus("shakespeare")
    assert len({play.id for play in plays}) == 38
    assert sum(len(play.text) for play in plays) > 4_500_000
    for play in plays:
        assert not re.search(r"[*_\\]|^#|&\w+;| $", play.text, flags=re.MULTILINE), play.id
    hamlet = next(play.text for play in plays if play.id == "hamlet")
    assert "To be, or not to be" in hamlet
