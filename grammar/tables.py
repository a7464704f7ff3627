"""The LALR tables of sql.lark.

Compiling them takes a third of a second, so that the build does it (setup.py) and leaves them beside the grammar, under
a name that tells what they are made of. An installation that has none for its grammar, lark and Python compiles them in
memory. Nothing is written here but by the build, which loads this module alone, without its package.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import lark

GRAMMAR = Path(__file__).with_name("sql.lark")
PATTERN = "sql.*.tables"


def load(transformer: Any) -> lark.Lark:
    """The parser, its reductions made by `transformer`."""
    path = GRAMMAR.with_name(_name())
    if not path.exists():
        return _compiled(transformer)
    parser = lark.Lark.__new__(lark.Lark)
    with path.open("rb") as file:
        parser._load(file, transformer=transformer)  # what Lark.load calls, which takes no transformer
    return parser


def build(directory: Path) -> None:
    """Compile the tables into a directory; those of another grammar go."""
    for former in directory.glob(PATTERN):
        former.unlink()
    with (directory / _name()).open("wb") as file:
        _compiled(None).save(file)


def _compiled(transformer: Any) -> lark.Lark:
    return lark.Lark(
        GRAMMAR.read_text(), parser="lalr", lexer="basic", maybe_placeholders=True, transformer=transformer
    )


def _name() -> str:
    made_of = f"{GRAMMAR.read_text()}\0{lark.__version__}\0{sys.version_info[:2]}"
    return PATTERN.replace("*", hashlib.sha256(made_of.encode()).hexdigest()[:16])
