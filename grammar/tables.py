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
PATTERN = "sql.*.lark.cache"


def load(transformer: Any) -> lark.Lark:
    """The parser, its reductions made by `transformer`."""
    path = GRAMMAR.with_name(_name())
    return _parser(str(path) if path.exists() else False, transformer)


def build(directory: Path) -> None:
    """Compile the tables into a directory; those of another grammar go."""
    for former in directory.glob(PATTERN):
        former.unlink()
    _parser(str(directory / _name()), None)


def _parser(cache: str | bool, transformer: Any) -> lark.Lark:
    text = GRAMMAR.read_text()
    return lark.Lark(text, parser="lalr", lexer="basic", maybe_placeholders=True, cache=cache, transformer=transformer)


def _name() -> str:
    made_of = f"{GRAMMAR.read_text()}\0{lark.__version__}\0{sys.version_info[:2]}"
    return PATTERN.replace("*", hashlib.sha256(made_of.encode()).hexdigest()[:16])
