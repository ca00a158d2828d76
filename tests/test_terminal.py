"""What a person watches: the live views hold what they promise, and colours mean something."""

import io

import numpy as np
import pytest
from rich.console import Console

from synthenticity.display import (
    figures_table,
    heat_legend,
    heat_text,
    label_legend,
    labelled_text,
    stacked_tables,
)
from synthenticity.providers.run import PrepareProgress
from synthenticity.stream.summary import StreamSummary
from synthenticity.synthesis.token_labels import LABEL_NAMES
from synthenticity.terminal import DemoView, PrepareView, TextView, TrainView
from synthenticity.training.callbacks import TrainProgress


def terminal() -> Console:
    return Console(force_terminal=True, record=True, width=100, color_system="truecolor")


def progress(**changes: object) -> PrepareProgress:
    summary = StreamSummary()
    labels = np.array([[-100, 0, 1, 2], [-100, 0, 0, 0]], dtype=np.int8)
    shares = np.array([2 / 3, 0.0], dtype=np.float32)
    summary.add({"input_ids": labels, "token_labels": labels, "synthenticity": shares})
    values = {
        "split": "train",
        "files_made": 3,
        "files_wanted": 12,
        "backlog": 2,
        "waiting": False,
        "seconds": 2.0,
        "sequences_made": 300,
        "tokens_made": 9000,
        "summary": summary,
    }
    return PrepareProgress(**{**values, **changes})


def shown(view: PrepareView | TrainView) -> str:
    """Return the live picture as text."""
    with view.console.capture() as capture:
        view.console.print(view._live.renderable)
    return capture.get()


def test_prepare_shows_files_rates_time_left_and_the_histogram() -> None:
    with PrepareView(terminal()) as view:
        view.update(progress())
        text = shown(view)
    for words in ("3 of 12", "150", "4,500", "time left", "6s", "synthenticity", "█"):
        assert words in text, words


def test_prepare_shows_the_backlog_of_a_live_queue_and_that_it_waits() -> None:
    with PrepareView(terminal()) as view:
        view.update(progress(files_wanted=None, waiting=True))
        text = shown(view)
    assert "backlog" in text and "waiting" in text and "time left" not in text


@pytest.mark.parametrize("on_terminal", [True, False])
def test_prepare_says_once_that_the_disk_is_full(on_terminal: bool) -> None:
    console = Console(force_terminal=on_terminal, width=100)
    with console.capture() as capture, PrepareView(console) as view:
        for _ in range(3):
            view.update(progress(waiting=True, reason="The disk of data is full."))
        view.update(progress())
    assert capture.get().count("The disk of data is full.") == 1


def test_training_shows_iteration_time_left_loss_and_evaluation() -> None:
    with TrainView(terminal()) as view:
        view.update(TrainProgress(10, 100, {"loss": 0.75}))
        view.update(TrainProgress(20, 100, {"loss": 0.5, "eval_mae": 0.125}))
        text = shown(view)
    for words in ("20 of 100", "time left", "0.5", "eval mae", "0.125"):
        assert words in text, words


def test_elsewhere_a_view_writes_plain_lines() -> None:
    console = Console(force_terminal=False, record=True, width=200)
    with PrepareView(console) as view, console.capture() as capture:
        view.update(progress())
        view.update(progress(files_made=4))  # within ten seconds: no second line
        view.update(progress(files_made=12))
    lines = capture.get().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["files 3 of 12", "files 12 of 12"]


def test_a_stage_names_its_command() -> None:
    console = terminal()
    with DemoView(console) as view, console.capture() as capture:
        view.stage("windows", "synthenticity prepare x.toml")
        view.update_prepare(progress())
    assert "$ synthenticity prepare x.toml" in capture.get()


@pytest.mark.parametrize("colours", ["truecolor", "256", "standard"])
def test_tokens_are_coloured_by_what_they_are(colours: str) -> None:
    text = labelled_text(["a", "b", "c", "d", "e"], [0, 1, 2, 3, -100], colours)
    styles = {text.plain[span.start]: str(span.style) for span in text.spans if span.style}
    assert "a" not in styles and len({styles[c] for c in "bcde"}) == 4
    legend = label_legend(LABEL_NAMES, colours).plain
    assert all(name in legend for name in ("original", "restored", "replaced"))


def test_without_colours_marks_stand_in_and_are_explained() -> None:
    text = labelled_text(["the ", "ki", "ng", " fe", "ll"], [0, 2, 2, 1, 3], None)
    assert text.plain == "the [[king]](( fe)){{ll}}" and not any(s.style for s in text.spans)
    legend = label_legend(LABEL_NAMES, None).plain
    assert legend == "original (unmarked)  ((restored))  [[replaced]]  {{random}}"
    offsets = np.array([[0, 1], [1, 2], [2, 3], [3, 4]])
    for said, shown in {
        (0.1, 0.5, 0.9, 0.2): "a[[bc]]d",
        (0.9, 0.1, 0.1, 0.9): "[[a]]bc[[d]]",
        (0.1, 0.1, 0.1, 0.1): "abcd",
    }.items():
        assert heat_text("abcd", offsets, np.array(said), None).plain == shown
    assert heat_legend(None).plain == "[[likelier machine-written than not]]"


@pytest.mark.parametrize("colours", ["truecolor", None])
def test_a_line_break_that_was_written_is_seen(colours: str | None) -> None:
    text = labelled_text(["a", "\n", "b", "\n"], [0, 2, 0, 0], colours)
    assert text.plain == ("a⏎\nb\n" if colours else "a[[⏎]]\nb\n")


def test_heat_deepens_with_the_probability_and_human_text_has_none() -> None:
    offsets = np.array([[0, 1], [1, 2], [2, 3]])
    text = heat_text("abc", offsets, np.array([0.0, 0.5, 1.0]), "truecolor")
    assert [text.plain[span.start] for span in text.spans] == ["b", "c"]
    assert heat_text("abc", offsets, None, "truecolor").spans == []


def test_a_text_cannot_command_the_terminal() -> None:
    text = "a\x1b[2Jb\x07c\r\nd\re\x9bf\tg"
    offsets = np.stack([np.arange(len(text)), np.arange(len(text)) + 1], axis=1)
    shown = heat_text(text, offsets, np.ones(len(text)), "truecolor")
    assert len(shown.plain) == len(text)  # so colours stay where they belong
    assert [text[span.start] for span in shown.spans] == list(text)
    assert not any((ord(c) < 32 and c not in "\t\n") or 127 <= ord(c) < 160 for c in shown.plain)
    assert labelled_text(["a\x1b"], [0], "truecolor").plain == "a\u241b"


FIGURES = {"MAE": ["0.0337", "0.1528"], "95 %": ["0.032-0.035", "0.151-0.154"]} | {
    f"a column of number {n}": ["0.123", ""] for n in range(4)
}
SYSTEMS = ["the scorer", "pseudo-log-likelihood of a model that wrote nothing*"]


@pytest.mark.parametrize("width", [44, 60, 80, 100, 200])
def test_a_table_is_never_wider_than_the_console_and_cuts_no_figure(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, soft_wrap=True)
    for table in stacked_tables("some data", SYSTEMS, FIGURES, width, "What it is. " * 20):
        console.print(table)
    shown = console.file.getvalue()
    assert max(map(len, shown.splitlines())) <= width and "…" not in shown
    for figure in ("0.0337", "0.1528", "0.032-0.035", "0.151-0.154"):
        assert shown.count(figure) == 1
    assert shown.count("0.123") == 4
    assert shown.count("some data") == shown.count("the scorer") == shown.count("┏")
    assert (shown.count("┏") == 1) == (width >= 100)


def test_marks_repeat_no_character_of_which_several_tokens_are_made() -> None:
    text, offsets = "a\U0001f600b", np.array([[0, 1], [1, 2], [1, 2], [1, 2], [2, 3]])
    shown = heat_text(text, offsets, np.array([0.1, 0.9, 0.1, 0.9, 0.1]), None).plain
    assert "[[" in shown and shown.replace("[[", "").replace("]]", "") == text


def test_a_long_text_shows_how_much_is_scored_and_a_short_one_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("synthenticity.terminal.time.monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), force_terminal=False)
    view = TextView(console)
    view.update(0.1)
    now[0] += 1
    view.update(0.2)
    assert console.file.getvalue() == ""
    now[0] += 3
    view.update(0.25)
    assert "scored 25%  time left 20s" in console.file.getvalue()


@pytest.mark.parametrize("value", ["[bold]x[/bold]", "[/]"])
def test_text_that_looks_like_markup_is_shown_as_it_is(value: str) -> None:
    console = terminal()
    with console.capture() as capture:
        console.print(labelled_text([value], [2], "truecolor"))
        console.print(figures_table(f"in {value}", {f"a {value}": f"is {value}"}))
    text = capture.get()
    assert text.count(value) == 4 and all(f"{word} {value}" in text for word in ("in", "a", "is"))
