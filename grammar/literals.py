"""What the text of a literal stands for."""

from __future__ import annotations

from math import isinf

from grammar.errors import SqlError
from grammar.values import whole


def text_literal(text: str) -> str:
    """A text in single or double quotes, in which a doubled quote stands for one."""
    quote = text[0]
    return text[1:-1].replace(quote * 2, quote) if quote in text[1:-1] else text[1:-1]


def number_literal(text: str) -> int | float:
    """Integers stay exact as far as the engine stores them, 64 bits; beyond they are doubles. SqlError."""
    if not text.isdigit():
        return whole(_double(text))
    return int(text) if len(text) < 20 or (len(text) == 20 and int(text) < 1 << 64) else _double(text)


def _double(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise SqlError(f"The number {text[:20]}... is too large.")
    return value
