"""What is asked of every tool of benchmarks/peers.py, a method for each group of rows."""

import statistics
import sys
import time
from collections.abc import Callable, Sequence

from peer_checks import compare, rebuilds
from peer_texts import PeerTexts
from peer_tools import OURS, PLAIN, Outcome, Tool, Tools

RATIO, SEED, BATCH = 0.15, 20, 16
HALF = 0.5
LITTLE = 0.02
"""Asked of the awkward texts, so that what is lost there was not chosen."""
PARAGRAPHS = 64
SHORT = 12
"""Of the shortest paragraphs, how many are filled again and again, and by slow tools for time."""
FEW, FEW_WORDS = 3, 25
"""The slowest tool gets the first words of so many of them."""
ROUNDS = {"all": 5, "some": 3, "few": 3}
Cells = dict[str, str]


class Comparison:
    """The tools, the texts, and a method for each group of rows; a row has a cell for each tool."""

    def __init__(self, tools: Tools, texts: PeerTexts) -> None:
        self.tools = tools
        self.found, self.missing = tools.all()
        self.texts = texts
        self.shortest = sorted(texts.paragraphs, key=len)
        self._known: dict[tuple[str, tuple[str, ...], float], list[Outcome]] = {}

    def short(self, pace: str) -> list[str]:
        if pace == "few":
            return [" ".join(text.split()[:FEW_WORDS]) for text in self.shortest[:FEW]]
        return self.shortest[:SHORT]

    def timed(self, pace: str) -> list[str]:
        return self.texts.paragraphs if pace == "all" else self.short(pace)

    def outcomes(self, tool: Tool, texts: Sequence[str], ratio: float = RATIO) -> list[Outcome]:
        """Fill texts, or return how they were filled before."""
        key = (tool.name, tuple(texts), ratio)
        if key not in self._known:
            self._known[key] = tool.fill(texts, ratio, SEED, BATCH)
        return self._known[key]

    def each(self, what: str, cell: Callable[[Tool], str]) -> Cells:
        """Return a row."""
        row = {"": what}
        for tool in self.found:
            row[tool.name] = cell(tool)
            print(f"{what} | {tool.name}: {row[tool.name]}", file=sys.stderr, flush=True)
        return row

    def speed_rows(self) -> list[Cells]:
        """Time every tool, and ours in every runtime, beside the plain torch loop."""
        ours, missing = self.tools.runtimes(self.texts.paragraphs)
        self.missing += missing
        tools = [*ours, *(tool for tool in self.found if tool.name != OURS)]
        plain = next(tool for tool in tools if tool.name == PLAIN)
        for tool in tools:  # models are loaded and memory is touched before the clock runs
            tool.fill(self.shortest[:1], RATIO, SEED, BATCH)
        times: dict[str, list[tuple[float, float, float]]] = {tool.name: [] for tool in tools}
        for pace in ("all", "some", "few"):
            texts = self.timed(pace)
            of_pace = [tool for tool in tools if tool.pace == pace and tool is not plain]
            for number in range(ROUNDS[pace] if of_pace else 0):
                cpu, wall = time_per_filled(plain, texts, SEED + number)
                if pace == "all":
                    times[PLAIN].append((cpu, wall, 1.0))
                for tool in of_pace if number % 2 else reversed(of_pace):
                    own, own_wall = time_per_filled(tool, texts, SEED + number)
                    times[tool.name].append((own, own_wall, own / cpu))
                    print(f"{tool.name}: {own / cpu:.3g}", file=sys.stderr, flush=True)

        def median(name: str, index: int) -> float:
            return statistics.median(row[index] for row in times[name])

        return [
            {
                "tool": tool.name,
                "CPU milliseconds a filled token": f"{1000 * median(tool.name, 0):.3g}",
                "wall milliseconds a filled token": f"{1000 * median(tool.name, 1):.3g}",
                "CPU time / the plain torch loop's": f"{median(tool.name, 2):.2f}",
                "timed on": words_of(self.timed(tool.pace)),
            }
            for tool in tools
        ]

    def label_rows(self) -> list[Cells]:
        """Say what comes out beside the text, and whether it is true."""

        def rebuilt(tool: Tool) -> str:
            texts = self.short(tool.pace)
            if self.outcomes(tool, texts)[0].spans is None:
                return "no spans"
            texts = [*texts, *self.texts.awkward.values()]
            outcomes = [self.outcomes(tool, [text])[0] for text in texts]
            return share(
                [rebuilds(t, o.text, o.spans or []) for t, o in zip(texts, outcomes, strict=True)]
            )

        return [
            self.each("labels", lambda tool: tool.labels),
            self.each("log-probability of what was written", lambda tool: tool.log_probability),
            self.each(
                "texts that the spans turn back into the original",
                lambda tool: tried(lambda: rebuilt(tool)),
            ),
        ]

    def kept_rows(self) -> list[Cells]:
        """Say what became of what was not to be changed."""

        def untouched(tool: Tool, texts: Sequence[str], ratio: float = RATIO) -> str:
            pairs = zip(texts, self.outcomes(tool, texts, ratio), strict=True)
            return share([compare(text, o.text, o.asked).identical for text, o in pairs])

        def left(tool: Tool, kind: str, what: str) -> str:
            text = self.texts.awkward[kind]
            written = self.outcomes(tool, [text], LITTLE)[0].text
            return f"{written.count(what)} of {text.count(what)}"

        def awkward(kind: str) -> Callable[[Tool], str]:
            return lambda tool: tried(lambda: untouched(tool, [self.texts.awkward[kind]], LITTLE))

        return [
            self.each(
                "paragraphs untouched outside of the changed words",
                lambda tool: untouched(tool, self.short(tool.pace)),
            ),
            self.each("the same, text with CRLF", awkward("CRLF")),
            self.each("the same, text with double spaces", awkward("double spaces")),
            self.each(
                f"emoji left, {LITTLE} asked",
                lambda t: tried(lambda: left(t, "emoji", "\N{GRINNING FACE}")),
            ),
            self.each(
                f"words `[MASK]` left, {LITTLE} asked",
                lambda t: tried(lambda: left(t, "[MASK]", "[MASK]")),
            ),
        ]

    def ratio_rows(self) -> list[Cells]:
        """Set what was asked against what came."""

        def got(ratio: float) -> Callable[[Tool], str]:
            def cell(tool: Tool) -> str:
                texts = self.short(tool.pace)
                outcomes = self.outcomes(tool, texts, ratio)
                ratios = [
                    filled(text, outcome) / outcome.units
                    for text, outcome in zip(texts, outcomes, strict=True)
                ]
                return (
                    f"{statistics.mean(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"
                    f" of the {tool.unit}"
                )

            return cell

        return [
            self.each(f"filled when {ratio} is asked: mean (range)", got(ratio))
            for ratio in (RATIO, HALF)
        ]

    def seed_rows(self, elsewhere: dict[str, list[str]]) -> list[Cells]:
        """Say how many texts come out the same with the same seed."""
        first = {
            tool.name: [o.text for o in self.outcomes(tool, self.short(tool.pace))]
            for tool in self.found
        }

        def same(other: Callable[[Tool], list[str]]) -> Callable[[Tool], str]:
            return lambda tool: share(
                [a == b for a, b in zip(first[tool.name], other(tool), strict=True)]
            )

        return [
            self.each("same seed, again", same(self.written)),
            self.each("same seed, another process", same(lambda tool: elsewhere[tool.name])),
            self.each(
                "same seed, another batch size", same(lambda tool: self.written(tool, batch=5))
            ),
            self.each(
                "same seed, texts in another order",
                same(lambda tool: self.written(tool, backwards=True)),
            ),
        ]

    def written(self, tool: Tool, batch: int = BATCH, *, backwards: bool = False) -> list[str]:
        """Return the filled short texts, in their order."""
        step = -1 if backwards else 1
        return [o.text for o in tool.fill(self.short(tool.pace)[::step], RATIO, SEED, batch)][
            ::step
        ]

    def long_rows(self) -> list[Cells]:
        """Say what becomes of a text that is longer than the model reads."""
        seen: dict[str, tuple[float, float] | str] = {}

        def measured(tool: Tool) -> tuple[float, float] | str:
            if tool.name not in seen:
                try:
                    seen[tool.name] = self._long(tool)
                except Exception as error:
                    seen[tool.name] = failure(error)
            return seen[tool.name]

        def cell(index: int) -> Callable[[Tool], str]:
            return lambda tool: (
                found if isinstance(found := measured(tool), str) else f"{100 * found[index]:.0f} %"
            )

        return [
            self.each("3,000 words: tenths of the text in which words are filled", cell(0)),
            self.each("3,000 words: words that come out", cell(1)),
        ]

    def _long(self, tool: Tool) -> tuple[float, float]:
        if tool.pace != "few":
            written = tool.fill([self.texts.long], RATIO, SEED, BATCH)[0].text
            kept = compare(self.texts.long, written)
            return kept.reached, kept.left
        # Days at its pace: asked for candidates at every fiftieth word instead.
        from textattack.shared import AttackedText

        text = AttackedText(self.texts.long)
        asked = set(range(0, len(text.words), 50))
        swap = self.tools.masked_lm_swap(512, BATCH, candidates=2)
        reached = [
            10 * index // len(text.words)
            for new in swap(text, indices_to_modify=asked)
            for index in new.attack_attrs["newly_modified_indices"]
        ]
        return len(set(reached)) / 10, 1.0


def time_per_filled(tool: Tool, texts: Sequence[str], seed: int) -> tuple[float, float]:
    """Return CPU and wall seconds a filled token."""
    wall, cpu = time.perf_counter(), time.process_time()
    outcomes = tool.fill(texts, RATIO, seed, BATCH)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    count = sum(filled(text, outcome) for text, outcome in zip(texts, outcomes, strict=True))
    return cpu / count, wall / count


def filled(original: str, outcome: Outcome) -> int:
    """Return how many were filled; nlpaug does not say, but never writes what stood there."""
    return compare(original, outcome.text).changed if outcome.filled is None else outcome.filled


def words_of(texts: Sequence[str]) -> str:
    lengths = sorted({len(text.split()) for text in texts})
    return f"{len(texts)} texts of {'-'.join(map(str, lengths[:: max(1, len(lengths) - 1)]))} words"


def share(good: Sequence[bool]) -> str:
    return f"{sum(good)} of {len(good)}" if len(good) > 1 else "yes" if good[0] else "no"


def tried(cell: Callable[[], str]) -> str:
    try:
        return cell()
    except Exception as error:
        return failure(error)


def failure(error: Exception) -> str:
    return f"fails: {type(error).__name__}"
