"""How long does somebody wait who scores two thousand words on the page?

    python benchmarks/page.py SCORER [--runs 9]

`synthenticity serve` in a process of its own, its page in the system's Chromium without a window,
both on this machine's processors. A run opens the page, fills in 2,000 words of Shakespeare, other
ones each time, and clicks; the time runs from the click until the frame after the heat map was
painted. What the service took of it, from the request to the answer's last byte, is beside it.
"""

import argparse
import os
import random
import re
import shutil
import statistics
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import record
from score import plays
from serve_load import running

WORDS = 2000
CLICK_TO_PAINT = """() => new Promise((resolve, reject) => {
  const isScore = ({ name }) => name.endsWith("v1/score");
  const painted = (then) => requestAnimationFrame(() => setTimeout(then));
  const look = () => {
    if (!$("problem").hidden) return reject(new Error($("problem").textContent));
    if ($("result").hidden || state.running) return painted(look);
    const asked = performance.getEntriesByType("resource").findLast(isScore);
    painted(() => resolve({
      all: performance.now() - start, service: asked.responseEnd - asked.startTime,
      tokens: state.tokens.length, stretches: state.pieces.length,
    }));
  };
  const start = performance.now();
  $("go").click();
  look();
})"""


def stretch_of_words(seed: int) -> str:
    """Return 2,000 words of a play, as they stand there."""
    rng = random.Random(seed)
    long = [text for text in plays() if len(text.split()) > 2 * WORDS]
    text = rng.choice(long)
    words = list(re.finditer(r"\S+", text))
    first = rng.randrange(len(words) - WORDS)
    return text[words[first].start() : words[first + WORDS - 1].end()]


def measure(page: Any, url: str, text: str) -> dict[str, float]:
    """Return what one run took, in milliseconds, and what was painted.

    Raises:
        SystemExit: the page does not show the text.

    """
    page.goto(url)
    page.locator("#model", has_text="weights").wait_for()  # it knows the scorer
    page.locator("#text").fill(text)
    page.locator("#go:enabled").wait_for()
    found = page.evaluate(CLICK_TO_PAINT)
    if page.locator("#words").evaluate("node => node.textContent") != text:
        raise SystemExit("the page does not show the text that was scored")
    return dict(found)


def row_of(scorer: Path, runs: int) -> dict[str, Any]:
    """Measure so many runs, after one that warms up, which is told apart."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        sys.exit("chromium is not installed")
    others_load = round(os.getloadavg()[0], 1)
    with running(scorer, ()) as server, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        url = f"http://127.0.0.1:{server.port}/"
        first, *others = [measure(page, url, stretch_of_words(n)) for n in range(runs + 1)]
        name = f"Chromium {browser.version}, playwright {version('playwright')}"
        browser.close()
    waits = [each["all"] / 1000 for each in others]
    served = [each["service"] / 1000 for each in others]
    return {
        "browser": name,
        "runs": runs,
        "words": WORDS,
        "tokens": round(statistics.median(each["tokens"] for each in others)),
        "stretches": round(statistics.median(each["stretches"] for each in others)),
        "click to paint s": round(statistics.median(waits), 2),
        "best s": round(min(waits), 2),
        "worst s": round(max(waits), 2),
        "of which the service s": round(statistics.median(served), 2),
        "first after the start s": round(first["all"] / 1000, 2),
        "load of others": others_load,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scorer", type=Path)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    record.write(
        "page",
        title="From a click on the page to the heat map",
        command="python benchmarks/page.py SCORER",
        about=f"{WORDS:,} words of Shakespeare, other ones each run, on the page of a server on "
        "the same machine: from the click until the frame after the heat map was painted, median, "
        "best and worst. Stretches are neighbouring tokens of one shade, each one node of the heat "
        "map. The first run after the server's start, which warms both up, is beside them. The "
        "load is the machine's average of running processes before the start: of others.",
        rows=[row_of(options.scorer, options.runs)],
    )


if __name__ == "__main__":
    main()
