"""Imports point one way: frontend -> grammar -> engine; only replication knows ZeroMQ."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES_OF_OTHERS = {"zmq", "flask", "lark", "gunicorn", "click"}


def imported(path: Path) -> set[str]:
    """Top-level names of every package that a Python or Cython module imports, also inside functions."""
    if path.suffix == ".py":
        nodes = list(ast.walk(ast.parse(path.read_text())))
        named = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        named |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    else:
        words = [line.split() for line in path.read_text().splitlines()]
        named = {line[1] for line in words if len(line) > 2 and line[0] == "from" and line[2] in ("import", "cimport")}
        named |= {line[1].rstrip(",") for line in words if len(line) > 1 and line[0] in ("import", "cimport")}
    return {name.split(".")[0] for name in named}


def modules(package: str) -> list[Path]:
    folder = ROOT / package
    return sorted([*folder.rglob("*.py"), *folder.rglob("*.pyx"), *folder.rglob("*.pxd")])


@pytest.mark.parametrize("path", modules("engine"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_engine_imports_nothing_above_it(path):
    allowed = {"zmq"} if "replication" in path.parts else set()
    assert not imported(path) & ({"grammar", "frontend"} | LIBRARIES_OF_OTHERS - allowed)


@pytest.mark.parametrize("path", modules("grammar"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_grammar_imports_no_front_end(path):
    assert not imported(path) & {"frontend", "flask", "gunicorn", "click", "zmq"}
