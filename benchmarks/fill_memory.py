"""Does filling hold more memory the longer it goes on?

    python benchmarks/fill_memory.py [--device cuda]

Every way of benchmarks/fill_ways.py, in a process of its own, fills batches of changing size and
length (which a runtime that remembers something for each shape would show) by a tiny model, whose
own memory hides nothing. What is set against each other is the memory held after the first
batches, when all sizes were seen, and after a thousand more.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import record
from fill_shapes import SHAPES, save_model
from fill_ways import WAYS, open_way
from own_process import OwnProcess

FIRST, MORE = 100, 1000
SHAPE = SHAPES["tiny"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    on_cpu = device == "cpu"
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = save_model(SHAPE, Path(place))
        for way in WAYS if on_cpu else [way for way in WAYS if way.runtime in ("", "torch")]:
            row = {"way": way.name, "dtype": way.dtype}
            names = (f"MB after {FIRST} batches", f"after {FIRST + MORE:,}", "growth, MB")
            if missing := way.missing():
                values = (f"not installed: {', '.join(missing)}", "", "")
            else:
                with OwnProcess(open_way, way, SHAPE, folder, device, SHAPE.rows) as filler:
                    before = filler.call("resident_after", FIRST, 0)
                    after = filler.call("resident_after", MORE, FIRST)
                values = (f"{before:,.1f}", f"{after:,.1f}", f"{after - before:+,.1f}")
            rows.append(row | dict(zip(names, values, strict=True)))
            print(rows[-1], file=sys.stderr, flush=True)
    held = "resident in the process" if on_cpu else "reserved on the GPU"
    record.write(
        "fill_memory" if on_cpu else "fill_memory_cuda",
        title="Memory over a thousand batches" + ("" if on_cpu else " on a GPU"),
        command="python benchmarks/fill_memory.py" + ("" if on_cpu else f" --device {device}"),
        about=(
            f"{SHAPE.words}; batches of 1 to {SHAPE.rows} rows of 16 to {SHAPE.length} tokens, all "
            "new, 15 % masked; our cache of rows limited to 1 MiB, so that it is full from the "
            f"start. Memory is what is {held}."
        ),
        rows=rows,
        device=device,
    )


if __name__ == "__main__":
    main()
