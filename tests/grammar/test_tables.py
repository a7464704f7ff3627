"""The tables of the grammar: made by the build, never by whoever uses an installation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from grammar import tables

PACKAGES = Path(tables.__file__).parent.parent
PARSE = "from grammar.parse import parse; parse('SELECT 1')"
WITHOUT_COMPILER = f"import lark.lark; lark.lark.load_grammar = None; {PARSE}"


def run(code: str, place: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=place, capture_output=True, text=True, check=False
    )


def test_the_build_replaces_the_tables_of_another_grammar(tmp_path: Path) -> None:
    (tmp_path / "sql.0123.tables").touch()
    tables.build(tmp_path)
    (made,) = tmp_path.iterdir()
    assert made.match(tables.PATTERN) and made.stat().st_size > 10_000
    tables.build(tmp_path)
    assert list(tmp_path.iterdir()) == [made]


def test_what_was_built_is_not_compiled_again() -> None:
    done = run(WITHOUT_COMPILER, PACKAGES)
    assert done.returncode == 0, done.stderr


def test_without_tables_statements_are_parsed_all_the_same_and_nothing_is_written(tmp_path: Path) -> None:
    for package in ("engine", "grammar"):
        shutil.copytree(
            PACKAGES / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.tables")
        )
    before = sorted(tmp_path.rglob("*"))
    assert run(PARSE, tmp_path).returncode == 0
    assert run(WITHOUT_COMPILER, tmp_path).returncode != 0
    assert sorted(tmp_path.rglob("*")) == before
