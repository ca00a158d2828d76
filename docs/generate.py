"""Write what the docs take from the code and from measurements.

    python docs/generate.py            # write them
    python docs/generate.py --check    # fail if they are not what would be written

docs/configuration.md comes from the fields of `Config`, docs/benchmarks.md from benchmarks/*.json,
and so do the tables that the README and the other pages name.
"""

import dataclasses
import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

from synthenticity.config import Config
from synthenticity.recipe import Recipe

DOCS = Path(__file__).parent
BENCHMARKS = DOCS.parent / "benchmarks"
GROUPS = {
    "data": "Text, and what is cut from it",
    "masking": "What is masked",
    "filling": "What fills the masks",
    "queue": "The queue between provider and trainer",
    "model": "The model",
    "training": "The training",
}
SECTIONS = {
    "Speed": (
        "fill",
        "ceiling",
        "peers",
        "prepare",
        "train",
        "score",
        "long_document",
        "serve_load",
        "page",
        "data_plane",
        "large_corpus",
        "waiting_threads",
        "import_time",
        "pieces",
    ),
    "Scale": ("ray_overhead", "large_files", "cost_model"),
    "Safety": ("corruption", "soak"),
    "The science": (
        "scorer_recipe",
        "transfer",
        "subword_scorer",
        "markov_testbed",
        "demo",
        "variants",
        "architecture",
        "minilm_mlm",
        "critic",
        "export_int8",
        "quality",
    ),
}
"""The order of the measurements: a name stands for every JSON that begins with it."""
OTHERS = "Others"


def table(rows: list[list[str]]) -> str:
    """Return a Markdown table; the first row is its head."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def shown(value: Any) -> str:
    """Return a default as it is written in TOML."""
    if value is None:
        return "unset"
    if isinstance(value, tuple):
        return f"`{json.dumps(list(value))}`"
    return f"`{json.dumps(value)}`"


def settings_table(owner: type, group: str) -> str:
    """Return the table of the settings of a group."""
    rows = [["key", "default", "meaning"]]
    for field in dataclasses.fields(owner):
        if field.metadata["group"] == group:
            choices = ", ".join(f"`{choice}`" for choice in field.metadata["choices"])
            meaning = field.metadata["doc"] + (f" ({choices})" if choices else "")
            rows.append([f"`{field.name}`", shown(field.default), meaning])
    return table(rows)


def configuration() -> str:
    """Return docs/configuration.md."""
    parts = [
        "# Settings",
        "One flat TOML file describes a run of `prepare` or `train`; every key may also be given "
        "as an option (`--batch_size 32` or `--batch-size 32`). Defaults < file < command line. "
        "Unknown keys and wrong values are errors, all reported at once, with a suggestion. The "
        "resolved settings are written beside every output (`config.toml`).",
        *(f"## {title}\n\n{settings_table(Config, group)}" for group, title in GROUPS.items()),
        "## Recipes",
        "A mixture in place of the simple settings of masking and sampling: one `[[recipes]]` "
        "table each, drawn by weight.",
        "```toml\n[[recipes]]\nratio = [0, 0]        # human text\nweight = 0.2\n\n"
        '[[recipes]]\npattern = "span"\nratio = [0.1, 0.9]\ntop_k = 20\nweight = 0.8\n```',
        settings_table(Recipe, ""),
    ]
    return "\n\n".join([NOTE, *parts]) + "\n"


def rows_table(content: dict[str, Any]) -> str:
    """Return the table of a benchmark."""
    rows = [list(content["rows"][0])]
    return table([*rows, *([str(value) for value in row.values()] for row in content["rows"])])


def in_order() -> dict[str, list[Path]]:
    """Return the JSONs of each section, those that no section names at the end."""
    left = sorted(BENCHMARKS.glob("*.json"))
    sections: dict[str, list[Path]] = {}
    for section, names in SECTIONS.items():
        found = [
            path for name in names for path in left if re.fullmatch(rf"{name}(_.*)?", path.stem)
        ]
        sections[section] = list(dict.fromkeys(found))
        left = [path for path in left if path not in found]
    return {name: paths for name, paths in (sections | {OTHERS: left}).items() if paths}


def measured_on(content: dict[str, Any]) -> str:
    """Return the command, the date and all that the figures depend on, as far as it is known."""
    parts = [f"`{content['command']}`, {content['date']}, {content['machine']}"]
    if "threads" in content:
        parts.append(f"threads: {content['threads']}")
    parts += [f"{name} {number}" for name, number in content.get("versions", {}).items()]
    if "revision" in content:
        changed = ", with changes" if content["modified"] else ""
        parts.append(f"revision `{content['revision']}`{changed}")
    return "; ".join(parts)


def anchor(title: str) -> str:
    """Return where a heading's link leads, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def benchmarks() -> str:
    """Return docs/benchmarks.md."""
    contents, parts = [], []
    for section, paths in in_order().items():
        contents.append(f"- [{section}](#{anchor(section)})")
        parts.append(f"## {section}")
        for path in paths:
            content = json.loads(path.read_text(encoding="utf-8"))
            contents.append(f"  - [{content['title']}](#{anchor(content['title'])})")
            parts += [
                f"### {content['title']}",
                content["about"],
                rows_table(content),
                f"{measured_on(content)}. Data: `benchmarks/{path.name}`.",
            ]
    return "\n\n".join([NOTE, "# Measurements", HOW_TO_READ, "\n".join(contents), *parts]) + "\n"


def with_figures(page: Path) -> str:
    """Return a page with the tables of the benchmarks that it names put in anew."""

    def put_in(found: re.Match[str]) -> str:
        path = BENCHMARKS / f"{found[1]}.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        text = f"{content['about']} (`{content['command']}`, {content['machine']})"
        return f"<!-- figures: {found[1]} -->\n{rows_table(content)}\n\n{text}\n<!-- end -->"

    text = page.read_text(encoding="utf-8")
    return re.sub(r"<!-- figures: (\w+) -->\n.*?<!-- end -->", put_in, text, flags=re.DOTALL)


HOW_TO_READ = """Every figure has its script and its JSON in `benchmarks/`.

- **Ratios, not times.** Speeds that a table compares were measured in one run, in turns.
  Machines differ and are noisy: trust ratios within one table, measure times again on yours.
- **Rivals are used well**: in their newest release, with the options for speed that they document,
  and the code that runs them is in the script.
- **A ceiling** is the best that the machine's matrix products reached in the same run; what a
  model's encoder reaches of it says how much is left to win.
- Under each table stand the command, the day, the machine, and, of newer figures, the threads,
  versions and the revision of the code (*with changes*: scripts or library were not committed)."""
NOTE = "<!-- Written by docs/generate.py; do not edit. -->"
PAGES = {
    DOCS / "configuration.md": configuration,
    DOCS / "benchmarks.md": benchmarks,
    **{
        page: partial(with_figures, page)
        for page in (DOCS.parent / "README.md", *sorted(DOCS.glob("*.md")))
        if "<!-- figures:" in page.read_text(encoding="utf-8")
    },
}


def main() -> int:
    stale = []
    for path, make in PAGES.items():
        text = make()
        if "--check" in sys.argv:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                stale.append(path.name)
        else:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"stale: {', '.join(stale)}. Run python docs/generate.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
