"""What a task of the protocol core may wait for, besides the works on tables (`engine.replication.works`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.replication.messages import Question

if TYPE_CHECKING:
    from engine.replication.session import Session


@dataclass(frozen=True, slots=True)
class Sleep:
    seconds: float


@dataclass(frozen=True, slots=True)
class Ask:
    """Send a question to a peer; the outcome is its answer. Unreachable when there is none in time or the link ends,
    otherwise whatever error the peer answers with. The question's request number is filled in on the way."""

    session: Session
    question: Question
    timeout: float = 10.0
