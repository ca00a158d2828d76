"""Where benchmarks put their figures: a JSON beside the script, with the machine and the date.

docs/generate.py turns every JSON into a section of docs/benchmarks.md.
"""

import datetime
import json
import platform
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def machine() -> str:
    """Return what the figures were measured on."""
    import torch

    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    processor = names[0] if names else platform.processor() or platform.machine()
    return f"{processor}, {len(names)} logical cores; torch {torch.__version__}"


def write(name: str, *, title: str, command: str, about: str, rows: list[dict[str, Any]]) -> None:
    """Write `name`.json: a title, what was done, and a table of rows with equal keys."""
    content = {
        "title": title,
        "command": command,
        "about": about,
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "rows": rows,
    }
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (HERE / f"{name}.json").write_text(text, encoding="utf-8")
    print(text)
