"""Near-duplicates: documents that share runs of 13 words, found by sampled hashes.

A run of words (a gram) is hashed alike wherever it stands, and is part of the sample if its hash
ends in enough zero bits. So the sample of two documents agrees where they do, and its size is
bounded: it takes every gram of a small corpus, every 64th of some gigabytes, and 100 MB at most.
Of a gram that more documents than `COMMON` share, each is compared with the first few that have
it only, so that boilerplate costs no squares; copies are found by the hash of their whole text,
however many there are. A million characters take 40 ms.
"""

from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import numpy as np
import xxhash
from numpy.typing import NDArray

from synthenticity.text.store import CODE_POINTS, TextStore

GRAM_WORDS = 13
"""As in the decontamination of GPT-3 (Brown et al. 2020, appendix C)."""
COMMON, FIRST = 32, 2
SAMPLE = 2**23
PIECE = 2**20
PAIRS_AT_ONCE = 2**22
LETTER_BASE, WORD_BASE = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)

Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]


def joined_duplicates(texts: TextStore, share: float) -> NDArray[np.int64]:
    """Return pairs `[pairs, 2]` of texts to be joined: together they connect all that are alike.

    Two texts are alike if the grams that they share are at least `share` of those of the one
    that has fewer, or if they are equal but for case and white space.
    """
    copies, hashes, owners = _sample(texts)
    pairs = _neighbours(copies)
    sizes = np.bincount(owners, minlength=len(texts))
    hashes, owners = _repeated(hashes, owners)
    is_copy = np.zeros(len(texts), dtype=bool)
    is_copy[pairs[:, 1]] = True  # the first of equal texts speaks for the others
    keep = ~is_copy[owners]
    return np.concatenate([pairs, _overlapping(hashes[keep], owners[keep], sizes, share)])


def connected(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the smallest member `[count]` of the connected set that each number lies in.

    >>> connected(5, np.array([[3, 1], [4, 3]])).tolist()
    [0, 1, 2, 1, 1]
    """
    label = np.arange(count)
    while True:
        ends = label[pairs]
        apart = ends[:, 0] != ends[:, 1]
        if not apart.any():
            return label
        pairs, ends = pairs[apart], ends[apart]
        np.minimum.at(label, ends.max(axis=1), ends.min(axis=1))
        while (label != label[label]).any():
            label = label[label]


def _sample(texts: TextStore) -> tuple[Hashes, Hashes, NDArray[np.int32]]:
    """Return the hash of each text, then the sampled hashes of grams and whose each is."""
    copies = np.zeros(len(texts), dtype=np.uint64)
    hashes, owners = np.empty(SAMPLE, np.uint64), np.empty(SAMPLE, np.int32)
    zero_bits = np.uint64(0)
    count = 0
    for numbers, pieces in _batches(texts, copies):
        found, piece = gram_hashes(pieces)
        whose = numbers[piece]
        while True:
            sampled = found & zero_bits == 0
            found, whose = found[sampled], whose[sampled]
            if count + len(found) <= SAMPLE:
                break
            zero_bits = zero_bits * np.uint64(2) + np.uint64(1)
            keep = hashes[:count] & zero_bits == 0
            kept = hashes[:count][keep], owners[:count][keep]
            count = len(kept[0])
            hashes[:count], owners[:count] = kept
        hashes[count : count + len(found)], owners[count : count + len(found)] = found, whose
        count += len(found)
    return copies, hashes[:count], owners[:count]


def _batches(texts: TextStore, copies: Hashes) -> Iterator[tuple[NDArray[np.int32], list[str]]]:
    """Yield texts in lower case, about `PIECE` characters at once, with their numbers.

    Longer texts come in pieces, the grams across whose borders are not seen; the others leave
    the hash of all their words in `copies`.
    """
    numbers: list[int] = []
    pieces: list[str] = []
    waiting = 0
    for number, text in enumerate(texts):
        lowered = text.lower()
        if len(lowered) <= PIECE:
            copies[number] = xxhash.xxh3_64_intdigest(" ".join(lowered.split()).encode())
        for start in range(0, len(lowered), PIECE):
            numbers.append(number)
            pieces.append(lowered[start : start + PIECE])
            waiting += len(pieces[-1])
            if waiting >= PIECE:
                yield np.array(numbers, dtype=np.int32), pieces
                numbers, pieces, waiting = [], [], 0
    if pieces:
        yield np.array(numbers, dtype=np.int32), pieces


@cache
def _word_characters() -> NDArray[np.bool_]:
    return np.array([chr(point).isalnum() for point in range(CODE_POINTS)])


def gram_hashes(pieces: list[str], words_each: int = GRAM_WORDS) -> tuple[Hashes, Numbers]:
    """Return the hashes of all grams and the place of the piece that each lies in, `[grams]`.

    A gram is a run of `words_each` words, and never crosses pieces; a word is a run of letters and
    digits. A gram's hash is a polynomial in those of its words, theirs one in their letters,
    modulo 2^64, each mixed.
    """
    points = np.frombuffer("\n".join(pieces).encode("utf-32-le"), dtype="<u4")
    is_word = _word_characters()[points]
    edges = np.flatnonzero(np.diff(is_word.view(np.int8), prepend=0, append=0))
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    if len(starts) < words_each:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    firsts = lengths.cumsum() - lengths
    place_in_word = np.arange(lengths.sum()) - np.repeat(firsts, lengths)
    powers = np.full(int(lengths.max()), LETTER_BASE).cumprod()
    letters = points[is_word].astype(np.uint64) * powers[place_in_word]
    words = mixed(np.add.reduceat(letters, firsts))
    last = len(words) - words_each + 1
    grams = np.zeros(last, dtype=np.uint64)
    for place, power in enumerate(np.full(words_each, WORD_BASE).cumprod()):
        grams += words[place : place + last] * power
    bounds = np.cumsum([len(piece) + 1 for piece in pieces])
    piece_of_word = np.searchsorted(bounds, starts, side="right")
    inside = piece_of_word[:last] == piece_of_word[words_each - 1 :]
    return mixed(grams[inside]), piece_of_word[:last][inside]


def mixed(values: Hashes) -> Hashes:
    """Return hashes of hashes, every bit spread over all others (MurmurHash3's finaliser)."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        values = (values ^ (values >> np.uint64(33))) * np.uint64(factor)
    return values ^ (values >> np.uint64(33))


def _neighbours(copies: Hashes) -> Numbers:
    """Return pairs `[pairs, 2]` of the first and each other of equal texts."""
    order = np.argsort(copies, kind="stable")
    values = copies[order]
    same = np.flatnonzero((values[1:] == values[:-1]) & (values[1:] != 0)) + 1
    first = order[np.searchsorted(values, values[same])]
    return np.stack([first, order[same]], axis=1).astype(np.int64)


def _repeated(hashes: Hashes, owners: NDArray[np.int32]) -> tuple[Hashes, NDArray[np.int32]]:
    """Return what belongs to hashes that occur more than once: few of all."""
    values = np.sort(hashes)
    several = np.unique(values[1:][values[1:] == values[:-1]])
    keep = np.zeros(len(hashes), dtype=bool)
    for start in range(0, len(hashes) if len(several) else 0, PIECE):
        part = hashes[start : start + PIECE]
        place = np.searchsorted(several, part).clip(max=len(several) - 1)
        keep[start : start + PIECE] = several[place] == part
    return hashes[keep], owners[keep]


def _overlapping(
    hashes: Hashes, owners: NDArray[np.int32], sizes: Numbers, share: float
) -> Numbers:
    """Return the pairs `[pairs, 2]` of owners that share enough grams."""
    order = np.lexsort((owners, hashes))
    hashes, owners = hashes[order], owners[order]
    new = np.ones(len(hashes), dtype=bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    hashes, owners = hashes[new], owners[new].astype(np.int64)
    starts = np.flatnonzero(np.diff(hashes, prepend=~hashes[:1]))
    counts = np.diff(starts, append=len(hashes))
    pairs, shared = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for found in _pairs_of_holders(owners.astype(np.int64), starts, counts):
        pairs, place = np.unique(np.concatenate([pairs, found]), return_inverse=True)
        weights = np.concatenate([shared, np.ones(len(found), np.int64)])
        shared = np.bincount(place, weights).astype(np.int64)
    ends = np.stack([pairs >> 32, pairs & (2**32 - 1)], axis=1)
    return ends[shared >= share * sizes[ends].min(axis=1)] if len(ends) else ends


def _pairs_of_holders(owners: Numbers, starts: Numbers, counts: Numbers) -> Iterator[Numbers]:
    """Yield the pairs of owners of each gram, as one number (smaller << 32 | larger) a pair.

    All pairs of few owners; of more than `COMMON`, the pairs with the `FIRST` of them.
    """
    for size in range(2, COMMON + 1):
        one, other = np.triu_indices(size, 1)
        groups = starts[counts == size][:, None] + np.arange(size)
        step = PAIRS_AT_ONCE // len(one)
        for start in range(0, len(groups), step):
            members = owners[groups[start : start + step]]
            yield ((members[:, one] << 32) | members[:, other]).ravel()
    many = counts > COMMON
    begins, sizes = starts[many], counts[many]
    for first in range(FIRST):
        rest = sizes - first - 1
        cuts = np.searchsorted(rest.cumsum(), np.arange(0, rest.sum(), PAIRS_AT_ONCE))
        for start, end in pairwise([*np.unique(cuts).tolist(), len(rest)]):
            lengths, begin = rest[start:end], begins[start:end]
            place = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
            others = owners[np.repeat(begin + first + 1, lengths) + place]
            yield (np.repeat(owners[begin + first], lengths) << 32) | others
