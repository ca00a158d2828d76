"""How fast are masks filled, beside a careful user's own loop, the encoder alone and the ceiling?

    python benchmarks/fill.py                                # all shapes, some ten minutes
    python benchmarks/fill.py --shapes tiny --dry            # a look, nothing written
    python benchmarks/fill.py --device cuda                  # on a GPU: fill_cuda.json

Every way (benchmarks/fill_ways.py) has a process of its own, and all work in turns: a round is a
call of each, first to last and then last to first, with the ceilings of benchmarks/ceiling.py
between. Speeds are medians over the rounds; ratios are medians of the rounds' own.
"""

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import record
from ceiling import Ceiling
from fill_shapes import MEASURED, SHAPES, Shape, save_model
from fill_ways import HALF, NORMAL, TOP_K, USUAL_RATIO, WAYS, Way, open_way
from own_process import OwnProcess

RATIOS = (USUAL_RATIO, HALF)
Measured = dict[str, list[float]]
"""Of a way, what each round gave: filled tokens a second by ratio, the encoder's tokens a second,
and its share of the ceiling."""
Cells = dict[str, str]


class Rounds:
    """All ways of a shape, in turns."""

    def __init__(self, shape: Shape, device: str, rounds: int | None, stack: ExitStack) -> None:
        self.shape, self.device = shape, device
        self.rounds = rounds or shape.rounds
        self.rows = shape.rows if device == "cpu" else shape.rows_on_gpu
        self.measured: dict[Way, Measured] = {}
        self.fillers: dict[Way, OwnProcess] = {}
        self.peaks: dict[Way, float] = {}
        self.why_not: dict[Way, str] = {}
        self.notes: list[str] = []
        self.rates: Measured = defaultdict(list)
        self.ceiling = stack.enter_context(OwnProcess(Ceiling, device))
        folder = save_model(shape, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        for way in WAYS if device == "cpu" else [w for w in WAYS if w.runtime in ("", "torch")]:
            self._open(way, folder, stack)

    def _open(self, way: Way, folder: Path, stack: ExitStack) -> None:
        say(f"{self.shape.name}: {way.name}, {way.dtype}")
        if missing := way.missing():
            self.why_not[way] = f"not installed: {', '.join(missing)}"
            return
        try:
            filler = OwnProcess(open_way, way, self.shape, folder, self.device, self.rows)
        except RuntimeError as error:
            say(str(error))
            self.why_not[way] = f"fails: {str(error).strip().splitlines()[-1]}"
            return
        self.fillers[way] = stack.enter_context(filler)
        self.measured[way] = defaultdict(list)
        if note := filler.call("said"):
            self.notes.append(f"{self.shape.name}: {way.name} in {note}.")

    def run(self) -> None:
        """Measure."""
        for number in range(self.rounds):
            say(f"{self.shape.name}: round {number + 1} of {self.rounds}")
            self.ceilings = self.ceiling.call("rates")
            for dtype, rate in self.ceilings.items():
                self.rates[dtype].append(rate)
            turn = list(self.fillers)
            for way in turn if number % 2 == 0 else reversed(turn):
                self._measure(way, number)
        for way, filler in self.fillers.items():
            self.peaks[way] = filler.call("peak")

    def _measure(self, way: Way, number: int) -> None:
        filler, measured = self.fillers[way], self.measured[way]
        for ratio in RATIOS:
            done = filler.call("fill", ratio, number)
            measured[key(ratio)].append(done["filled"] / done["seconds"])
        read = self.rows * self.shape.length / filler.call("encode", number)
        measured["encoder"].append(read)
        if way.dtype in self.ceilings:
            share = read * self.shape.operations_a_token / self.ceilings[way.dtype]
            measured["share"].append(share)

    def table(self) -> list[Cells]:
        """Return a row for each way."""
        ways = [*self.measured, *self.why_not]
        return [self._row(way) for way in WAYS if way in ways]

    def _row(self, way: Way) -> Cells:
        cells = {"shape": self.shape.name, "way": way.name, "dtype": way.dtype}
        known = self.measured.get(way)
        for ratio in RATIOS:
            filled, times, tokens = "", "", ""
            if known:
                speed = statistics.median(known[key(ratio)])
                filled, tokens = f"{speed:,.0f}", f"{speed / ratio:,.0f}"
                times = f"{ratio_of(known[key(ratio)], self.measured[NORMAL][key(ratio)]):.2f}"
            cells |= {f"{key(ratio)}: filled tokens/s": filled}
            cells |= {f"{key(ratio)}: / normal loop": times, f"{key(ratio)}: tokens/s": tokens}
        encoder, share, peak = "", "", self.why_not.get(way, "")
        if known:
            encoder = f"{statistics.median(known['encoder']):,.0f}"
            peak = f"{self.peaks[way]:,.0f}"
            share = f"{statistics.median(known['share']):.0%}" if known["share"] else ""
        return cells | {
            "encoder alone, tokens/s": encoder,
            "encoder / ceiling": share,
            "peak memory, MB": peak,
        }


def key(ratio: float) -> str:
    """Return how a ratio is written."""
    return f"{100 * ratio:.0f} %"


def ratio_of(these: Sequence[float], others: Sequence[float]) -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(these, others, strict=True))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def about(all_rounds: Sequence[Rounds], device: str) -> str:
    """Return what was done, and the ceilings of this run."""
    parts = [f"BERT models with random weights. {'. '.join(r.shape.words for r in all_rounds)}."]
    calls = "; ".join(f"{r.shape.name}: {r.rows} rows, {r.rounds} rounds" for r in all_rounds)
    parts.append(f"Calls of new rows ({calls}), each token masked with the ratio's probability.")
    parts.append(
        f"The normal loop: whole head, top-k {TOP_K}, softmax and multinomial at the masks, as "
        "generation loops do it, the batch size the best at 15 %. Ours: `predict_masked_tokens` "
        f"with top_k {TOP_K}, int8 calibrated on rows of the same kind. Tokens/s counts all tokens "
        "of the rows. The encoder alone is the same model in the same runtime; its matrix products "
        "and attention are counted, and set against the ceiling measured in the same round."
    )
    parts += [note for rounds in all_rounds for note in rounds.notes]
    for rounds in all_rounds:
        rates = ", ".join(f"{d} {max(r) / 1e9:,.0f}" for d, r in rounds.rates.items())
        parts.append(f"{rounds.shape.name}: best ceilings, 10^9 operations/s: {rates}.")
    held = "held on the GPU" if device != "cpu" else "of the whole process, loading included"
    parts.append(f"Memory is {held}.")
    return " ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(MEASURED))
    parser.add_argument("--rounds", type=int, help="of each shape")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    options = parser.parse_args()
    on_cpu = options.device == "cpu"
    all_rounds, rows = [], []
    for name in options.shapes:
        with ExitStack() as stack:
            rounds = Rounds(SHAPES[name], options.device, options.rounds, stack)
            rounds.run()
        all_rounds.append(rounds)
        rows += rounds.table()
        for row in rounds.table():
            say(" | ".join(row.values()))
    if options.dry:
        say(about(all_rounds, options.device))
        return
    record.write(
        "fill" if on_cpu else "fill_cuda",
        title="Filling masks" + ("" if on_cpu else " on a GPU"),
        command="python benchmarks/fill.py" + ("" if on_cpu else f" --device {options.device}"),
        about=about(all_rounds, options.device),
        rows=rows,
        device=options.device,
    )


if __name__ == "__main__":
    main()
