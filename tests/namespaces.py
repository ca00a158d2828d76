"""Real small, full and read-only file systems, in a mount namespace of the test's own.

Nothing is mounted for anybody else, and all of it goes with the process. Where the system refuses
such namespaces to ordinary users, the tests that need one are skipped and say so.
"""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import synthenticity

PYTHONPATH = os.pathsep.join(
    [str(Path(synthenticity.__file__).parents[1]), str(Path(__file__).parent / "stream")]
)
UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]


@cache
def _refusal() -> str | None:
    try:
        done = subprocess.run(
            [*UNSHARE, "mount", "-t", "tmpfs", "none", "/mnt"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return "there is no unshare"
    return (done.stderr.strip() or "refused") if done.returncode else None


def run_with_mounts(mounts: list[str], code: str, *arguments: object) -> str:
    """Run mount commands and then a Python program beside them; return what it printed."""
    refusal = _refusal()
    if refusal:
        pytest.skip(f"no mount namespace: {refusal}")
    script = " && ".join([*mounts, 'exec "$@"'])
    program = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(
        [*UNSHARE, "sh", "-c", script, "sh", *program],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
