"""What `status` shows of a directory of batch files."""

from typing import Any

from rich.console import Group
from rich.text import Text

from synthenticity.display import figures_table
from synthenticity.stream.audit import how_many
from synthenticity.stream.status import QueueStatus
from synthenticity.terminal import View, format_seconds

UNITS = ("B", "kB", "MB", "GB", "TB")


class StatusView(View):
    """A directory's figures, and under them who waits for whom."""

    def update(self, now: QueueStatus, *, stays: bool) -> None:
        """Draw the state of a directory, to be drawn over by the next or to stay."""
        figures = figures_table(now.directory, figures_of(now))
        if stays:
            self.console.print(figures)
            self.console.print(now.who_waits, markup=False)
        else:
            # A live picture is as wide as the terminal; what is longer would be cut.
            who_waits = Text(now.who_waits, no_wrap=False, overflow="fold")
            self.show(Group(figures, who_waits), now.who_waits, always=True)


def figures_of(now: QueueStatus) -> dict[str, Any]:
    """Return what a person wants to know, in words; what is not known is left out."""
    figures: dict[str, Any] = {
        "kind": f"{now.kind}, format version {now.format_version}",
        "fingerprint": now.fingerprint[:12],
        "provider": _provider(now),
        "files": "  ".join(f"{split} {count:,}" for split, count in now.files.items()) or "none",
    }
    if now.kind == "live":
        figures |= _live_figures(now)
    elif now.missing:
        lacking = now.missing.items()
        figures["missing"] = "  ".join(f"{split} {how_many(found):,}" for split, found in lacking)
    figures["made"] = _rate(now.files_per_second_made, now)
    if now.kind == "live":
        figures["taken"] = _rate(now.files_per_second_taken, now)
    reason = f": {now.last_reason}" if now.last_reason else ""
    figures["quarantine"] = f"{now.quarantined}{reason}" if now.quarantined else "empty"
    if now.temporaries:
        figures["temporaries"] = now.temporaries
    figures["disk"] = _space(now)
    return figures


def _space(now: QueueStatus) -> str:
    used = f"{format_bytes(now.used_bytes)} used"
    if now.free_bytes is None:
        return used
    fit = "" if now.files_that_fit is None else f", room for {now.files_that_fit:,} more files"
    return f"{used}, {format_bytes(now.free_bytes)} free{fit}"


def _live_figures(now: QueueStatus) -> dict[str, Any]:
    most = "" if now.max_backlog_files is None else f" of {now.max_backlog_files}"
    said = "nothing yet"
    if now.first_unacknowledged:
        said = f"all before train {now.first_unacknowledged}"
        said += f" by {now.acknowledged_by}" if now.acknowledged_by else ""
        if now.acknowledged_seconds_ago is not None:
            said += f", {_ago(now.acknowledged_seconds_ago)}"
    return {
        "backlog": f"{now.backlog}{most} files",
        "next": f"train {now.next_number}",
        "acknowledged": said,
    }


def _provider(now: QueueStatus) -> str:
    if now.owner is None:
        return "nobody" if now.knows_owner else "nobody on this machine"
    workers = f", {now.owner.workers} workers" if now.owner.workers else ""
    if now.alive:
        return f"{now.owner.name}{workers}: {now.owner.state}"
    return f"dead, {now.owner.name}, last alive {_ago(now.owner.seconds_ago)}: {now.owner.state}"


def _ago(seconds: float) -> str:
    if seconds < 0:
        return f"{format_seconds(-seconds)} ahead of the clock, which was set back"
    return f"{format_seconds(seconds)} ago"


def _rate(files: float | None, now: QueueStatus) -> str:
    if files is None:
        return "not known"
    return f"{files:.3g} files/s, {files * now.rows_per_file:,.0f} sequences/s"


def format_bytes(count: float) -> str:
    """Return a size as people read it.

    >>> format_bytes(999), format_bytes(12_340_000)
    ('999 B', '12.3 MB')
    """
    for unit in UNITS:
        if count < 1000 or unit == UNITS[-1]:
            break
        count /= 1000
    return f"{count:.3g} {unit}"
