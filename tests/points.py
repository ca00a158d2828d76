"""The fault points of the library, found in its source, so that none is forgotten.

`OTHERS` is the one place that says which of them another table tries: those which the queue alone
never passes. Whatever is not listed there belongs to the table of `test_fault_table.py`.
"""

import ast
from pathlib import Path

import synthenticity

SOURCE = Path(synthenticity.__file__).parent
OTHERS = {
    "checkpoint.": "the trainer's",
    "metrics.": "the trainer's",
    "model.": "the trainer's",
    "provider.": "the provider's",
    "step.": "the trainer's",
    "store.": "the object store's",
    "worker.": "the provider's",
}


def points_in_source() -> list[str]:
    """Return the name of every `point("...")` in the library, as often as it stands there."""
    calls = [
        node
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and called(node) == "point"
    ]
    return sorted(literal(call) for call in calls)


def called(call: ast.Call) -> str:
    function = call.func
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def literal(call: ast.Call) -> str:
    (argument,) = call.args
    assert isinstance(argument, ast.Constant), f"a point without a literal name: {ast.dump(call)}"
    assert isinstance(argument.value, str)
    return argument.value


def queue_points() -> list[str]:
    """Return the points that the queue's own table tries."""
    return [name for name in points_in_source() if not name.startswith(tuple(OTHERS))]
