"""The report on a telephone and in the dark, in a real browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthenticity.evaluation.page import figure, page, table
from synthenticity.evaluation.plots import plot_errors, plot_histogram, plot_scatter

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
RATIOS = np.linspace(0, 1, 50)
NAMES = ["scorer", "MLM pseudo-log-likelihood, first 128"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with a table that is too wide for a telephone, and plots."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    buckets = [{"from": 0.1, "to": 0.2, "mae": 0.1}, {"from": 0.2, "to": 0.3, "mae": 0.2}]
    columns = [f"column {n}" for n in range(8)]
    cells = [[name, *(f"0.12{n} [0.120, 0.125]" for n in range(8))] for name in NAMES]
    plots = [
        plot_scatter(RATIOS, RATIOS),
        plot_histogram(RATIOS, xlabel="ratio", ylabel="sequences"),
        plot_errors({"scorer": buckets, "limit": buckets}, ("limit",)),
    ]
    parts = [table("What it is", ["", *columns], cells, marked=0), *(figure(p, "") for p in plots)]
    path.write_text(page("A report", parts), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.parametrize("width", [320, 400, 1280])
def test_a_table_scrolls_in_its_own_box_and_names_stay_in_view(
    browser: Any, report: Path, width: int
) -> None:
    view = browser.new_page(viewport={"width": width, "height": 900})
    view.goto(report.as_uri())
    box, name = view.locator(".wide"), view.locator("tbody th").last
    assert view.evaluate("document.documentElement.scrollWidth") == width
    hidden = box.evaluate("box => box.scrollWidth - box.clientWidth")
    assert hidden > 0
    before = name.bounding_box()
    box.evaluate("box => { box.scrollLeft = box.scrollWidth }")
    assert box.evaluate("box => box.scrollLeft") == pytest.approx(hidden, abs=1)
    after, last = name.bounding_box(), view.locator("tbody td").last.bounding_box()
    assert after["x"] == pytest.approx(before["x"], abs=1)
    assert before["x"] + before["width"] < last["x"] and last["x"] + last["width"] <= width
    view.close()


@pytest.mark.parametrize(("scheme", "ink"), [("light", "28, 30, 33"), ("dark", "230, 227, 222")])
def test_plots_are_drawn_in_the_ink_of_the_page_on_no_background(
    browser: Any, report: Path, scheme: str, ink: str
) -> None:
    view = browser.new_page(color_scheme=scheme)
    view.goto(report.as_uri())
    drawn = view.evaluate(
        """[...document.querySelectorAll("figure svg :is(path, use):not(defs *)")].flatMap(
        part => ["fill", "stroke"].map(name => getComputedStyle(part)[name]))"""
    )
    assert f"rgb({ink})" in drawn
    assert not {"rgb(0, 0, 0)", "rgb(255, 255, 255)"} & set(drawn)
    ground = "figure => getComputedStyle(figure).backgroundColor"
    assert view.locator("figure").first.evaluate(ground) == "rgba(0, 0, 0, 0)"
    view.close()
