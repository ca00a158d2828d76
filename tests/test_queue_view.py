"""What `status` shows: every figure of a directory, in words."""

import dataclasses

import pytest
from rich.console import Console

from synthenticity.queue_view import StatusView, figures_of
from synthenticity.stream.ownership import OwnerState
from synthenticity.stream.status import QueueStatus


@pytest.fixture
def now() -> QueueStatus:
    return QueueStatus(
        directory="data/[x]",
        kind="live",
        fingerprint="0123456789abcdef" * 2,
        format_version=2,
        owner=OwnerState(12, "nowhere", state="making train 7", workers=2, seconds_ago=1.0),
        files={"train": 2, "val": 1},
        missing={},
        backlog=2,
        max_backlog_files=3,
        next_number=7,
        first_unacknowledged=5,
        acknowledged_by="runs/a",
        acknowledged_seconds_ago=75.0,
        files_per_second_made=0.5,
        files_per_second_taken=None,
        rows_per_file=800,
        quarantined=1,
        last_reason="a reason",
        temporaries=1,
        used_bytes=1_500_000,
        free_bytes=3_000_000_000,
        files_that_fit=4000,
    )


def test_a_live_queue_shows_every_figure(now: QueueStatus) -> None:
    assert figures_of(now) == {
        "kind": "live, format version 2",
        "fingerprint": "0123456789ab",
        "provider": "process 12 on nowhere, 2 workers: making train 7",
        "files": "train 2  val 1",
        "backlog": "2 of 3 files",
        "next": "train 7",
        "acknowledged": "all before train 5 by runs/a, 1m15s ago",
        "made": "0.5 files/s, 400 sequences/s",
        "taken": "not known",
        "quarantine": "1: a reason",
        "temporaries": 1,
        "disk": "1.5 MB used, 3 GB free, room for 4,000 more files",
    }


def test_a_dead_provider_and_a_clock_set_back_are_told(now: QueueStatus) -> None:
    dead = dataclasses.replace(now.owner, workers=0, seconds_ago=3600.0)
    shown = figures_of(dataclasses.replace(now, owner=dead, acknowledged_seconds_ago=-60.0))
    assert shown["provider"] == (
        "dead, process 12 on nowhere, last alive 60m00s ago: making train 7"
    )
    assert shown["acknowledged"].endswith("1m00s ahead of the clock, which was set back")
    assert figures_of(dataclasses.replace(now, owner=None))["provider"] == "nobody"


def test_a_finite_set_shows_what_is_missing(now: QueueStatus) -> None:
    shown = figures_of(dataclasses.replace(now, kind="finite", missing={"val": [range(1, 3)]}))
    assert shown["missing"] == "val 2"
    assert not {"backlog", "next", "acknowledged", "taken"} & shown.keys()


def test_the_picture_holds_the_figures_and_who_waits(now: QueueStatus) -> None:
    console = Console(width=120, soft_wrap=True)
    with console.capture() as capture:
        StatusView(console).update(now, stays=True)
    text = capture.get()
    assert "data/[x]" in text and "process 12" in text
    assert text.splitlines()[-1] == now.who_waits


def test_elsewhere_than_on_a_terminal_each_look_is_a_line(now: QueueStatus) -> None:
    console = Console(force_terminal=False, width=120, soft_wrap=True)
    with StatusView(console) as view, console.capture() as capture:
        view.update(now, stays=False)
        view.update(now, stays=False)
    assert capture.get().splitlines() == [now.who_waits] * 2


def test_a_live_picture_is_not_cut_at_the_edge(now: QueueStatus) -> None:
    console = Console(force_terminal=True, width=30, soft_wrap=True)
    with console.capture() as capture, StatusView(console) as view:
        view.update(now, stays=False)
        view._live.refresh()
    assert "files/s" in capture.get().split("nobody waits")[-1]
