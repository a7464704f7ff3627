"""How a scalar function is declared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from grammar.errors import SqlError

MANY = 1000


@dataclass(frozen=True, slots=True)
class Function:
    """A function of SQL, known under each of `names` (in capitals).

    `evaluate` gets the values of the arguments; a `timed` one gets the statement's time before them, in milliseconds
    since the epoch. Unless it `takes_null`, a null argument makes the result null without a call. A `volatile` one
    may give another result for the same arguments.
    """

    names: tuple[str, ...]
    evaluate: Callable[..., Any]
    least: int
    most: int
    takes_null: bool = False
    timed: bool = False
    volatile: bool = False


def function(
    names: str, evaluate: Callable[..., Any], least: int, most: int | None = None, **options: bool
) -> Function:
    """`names` separated by blanks; `most` is as `least` when left out."""
    return Function(tuple(names.split()), evaluate, least, least if most is None else most, **options)


def check_arguments(name: str, given: int, least: int, most: int) -> None:
    """Raises SqlError for a wrong number of arguments."""
    if least <= given <= most:
        return
    wanted = f"{least}" if least == most else f"at least {least}" if most == MANY else f"{least} to {most}"
    noun = "argument" if wanted == "1" else "arguments"
    raise SqlError(f"function {name} takes {wanted} {noun}, {given} given")
