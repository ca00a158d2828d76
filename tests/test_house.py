"""The house: imports go one way, the public names are those we promise, help costs nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import synthenticity

SOURCE = Path(synthenticity.__file__).parent
LAYERS = [
    {"errors"},
    {"seeding", "metrics", "settings", "faults", "data_card"},
    {"durable", "pipeline", "workers"},
    {"distributed"},
    {"recipe"},
    {"config"},
    {"config_file"},
    {"runtimes"},
    {"text"},
    {"synthesis"},
    {"stream"},
    {"providers"},
    {"training"},
    {"scoring"},
    {"evaluation"},
    {"records"},
    {"serve"},
    {"remake"},
    {"validation", "inspection"},
    {"demo"},
    {"colours"},
    {"display"},
    {"terminal"},
    {"samples", "queue_view"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
PLAN = {
    "DataProviderBase",
    "CharDiffusionProvider",
    "SequenceScorerProvider",
    "MLMInferenceEngine",
    "create_synthetic_text",
    "add_cls_token",
    "apply_bert_style_corruption",
    "DatasetConsumer",
    "ModelMode",
    "prepare",
    "train",
    "validate",
}
OTHERS = {"Config", "Document", "Recipe", "Scorer", "TokenCritic"} | {
    "fill",
    "load_config",
    "load_filling_model",
    "read_batch_file",
}


def imports_of(path: Path) -> set[str]:
    """Return the dotted modules of ours that a file imports, wherever in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0
    }
    found |= {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    return {name for name in found if name.startswith("synthenticity.")}


def room_of(module: str) -> str:
    return module.split(".")[1]


FILES = [path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_room_imports_only_from_rooms_above_it(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert room in RANK, f"{room} has no place in the house"
    wrong = [m for m in imports_of(path) if room_of(m) != room and RANK[room_of(m)] >= RANK[room]]
    assert wrong == []


def test_no_two_files_import_each_other_around() -> None:
    graph = {
        ".".join(["synthenticity", *path.relative_to(SOURCE).with_suffix("").parts]): imports_of(
            path
        )
        for path in FILES
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"cycle: {' -> '.join([*trail, module])}"
        if module not in done:
            for following in graph.get(module, ()):
                visit(following, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_public_names_are_those_promised_and_all_load() -> None:
    errors = {name for name in synthenticity.__all__ if name.endswith("Error")}
    assert set(synthenticity.__all__) == PLAN | OTHERS | errors
    assert len(errors) == 10
    for name in synthenticity.__all__:
        assert getattr(synthenticity, name).__doc__
    with pytest.raises(AttributeError):
        _ = synthenticity.no_such_name


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["demo", "--help"]])
def test_help_does_not_import_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from synthenticity.cli import run; "
        f"code = run({arguments!r}); assert code == 0, code; "
        "assert not {'torch', 'transformers', 'pyarrow'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "synthenticity" in done.stdout


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import synthenticity, sys; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_module_says_nothing_or_bears_a_standard_name() -> None:
    forbidden = {"utils", "util", "helpers", "common", "misc", "manager", "handler"}
    assert not {p.stem for p in FILES} & (forbidden | (sys.stdlib_module_names - {"__main__"}))


def test_nothing_is_unpickled_or_evaluated() -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        for word in ("pickle", "torch.load", "eval(", "exec(", "trust_remote_code=True"):
            lines = [line for line in text.splitlines() if word in line and ".eval(" not in line]
            assert [line for line in lines if "pickled training arguments" not in line] == []
