"""The docs are true: generated pages are fresh, links lead somewhere, commands parse."""

import re
import runpy
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_generated_pages_are_what_code_and_measurements_say() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_named_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    named = re.findall(r"(?:^|[\s`(])((?:configs|benchmarks|docs|examples|tests)/[\w./]+\w)", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [name for name in named if not (ROOT / name).exists()]
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    missing += [name for name in re.findall(r"test_\w+\.py", text) if name not in tests]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_into_pages_lead_to_headings_that_are_there_or_will_be_measured(page: Path) -> None:
    links = re.findall(r"\]\(([\w./]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    targets = {(page.parent / name if name else page).resolve() for name, _ in links}
    known = {target: headings(target) for target in targets}
    lost = [
        f"{name}#{place}"
        for name, place in links
        if place not in known[(page.parent / name if name else page).resolve()]
    ]
    assert lost == []


def headings(page: Path) -> set[str]:
    """Return the anchors of a page; those of benchmarks.md as soon as all is measured, too."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if page.name == "benchmarks.md":
        titles += re.findall(r'title="([^"]+)"', benchmark_scripts())
    return {generate()["anchor"](title) for title in titles}


def benchmark_scripts() -> str:
    places = sorted((ROOT / "benchmarks").glob("*.py"))
    return "\n".join(path.read_text(encoding="utf-8") for path in places)


@cache
def generate() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "generate.py"))


def test_every_section_of_the_measurements_is_written_by_a_script() -> None:
    scripts = benchmark_scripts()
    names = [name for section in generate()["SECTIONS"].values() for name in section]
    assert [name for name in names if not re.search(rf'"{name}[_"]', scripts)] == []


def test_the_tree_in_the_readme_names_every_module() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    names = {path.name for path in (ROOT / "src").rglob("*.py") if not path.name.startswith("__")}
    assert {name for name in names if name not in text} == set()


def commands() -> list[str]:
    """Return the `synthenticity` command lines that the README and the configs show."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    for path in sorted((ROOT / "configs").glob("*.toml")):
        comments = [
            line for line in path.read_text(encoding="utf-8").splitlines() if line[:1] == "#"
        ]
        lines += [re.sub(r"\s{2,}\(.*\)$", "", line.lstrip("# ")) for line in comments]
    found = [re.search(r"(?:^|[|&] )(synthenticity \w+ .*)$", line) for line in lines]
    return [match[1] for match in found if match]


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 10


@pytest.mark.parametrize("line", commands())
def test_commands_in_the_docs_are_understood(line: str) -> None:
    from synthenticity.cli import app
    from synthenticity.config_file import load_config

    _, *arguments = shlex.split(line, comments=True)
    _, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
    config = bound.arguments.get("config")
    if config is not None:
        load_config(
            ROOT / config, bound.kwargs.get("overrides") or bound.arguments.get("overrides")
        )
