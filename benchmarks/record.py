"""Where benchmarks put their figures: a JSON beside the script, with all that they depend on.

That is the machine, the date, the versions, the revision of the code and the number of threads.
docs/generate.py turns every JSON into a section of docs/benchmarks.md.
"""

import datetime
import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PACKAGES = ("torch", "transformers", "openvino", "nncf", "onnxruntime")
CODE = ("src", "benchmarks/*.py")


def machine(device: str = "cpu") -> str:
    """Return what the figures were measured on: the processor, and a GPU if it did the work."""
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    processor = names[0] if names else platform.processor() or platform.machine()
    host = f"{processor}, {len(names)} logical cores"
    if not device.startswith("cuda"):
        return host
    import torch

    return f"{torch.cuda.get_device_name(device)}; {host}"


def versions() -> dict[str, str]:
    """Return the versions of what computes, as far as it is installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def revision() -> dict[str, Any]:
    """Return the commit, and whether library or scripts were changed since; nothing without git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(HERE.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", *CODE)
        return {"revision": git("rev-parse", "--short=12", "HEAD"), "modified": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return {}


def write(
    name: str,
    *,
    title: str,
    command: str,
    about: str,
    rows: list[dict[str, Any]],
    device: str = "cpu",
    threads: int | None = None,
) -> None:
    """Write `name`.json: a title, what was done, and a table of rows with equal keys.

    `threads` are those that computed; without it, as many as torch has in this process.
    """
    import torch

    content = {
        "title": title,
        "command": command,
        "about": about,
        "machine": machine(device),
        "threads": threads or torch.get_num_threads(),
        "versions": versions(),
        **revision(),
        "date": datetime.date.today().isoformat(),
        "rows": rows,
    }
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (HERE / f"{name}.json").write_text(text, encoding="utf-8")
    print(text)
