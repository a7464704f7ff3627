"""Locks of a root directory: who has one, who waits for it, and what a fork does to it."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from engine.locks import lock


def test_one_has_it_at_a_time(tmp_path: Path) -> None:
    with lock(tmp_path / "lock") as first, lock(tmp_path / "lock") as second:
        assert (first, second) == (True, False)
    with lock(tmp_path / "lock") as again:
        assert again


def test_who_lets_go_is_waited_for(tmp_path: Path) -> None:
    has, lets_go = threading.Event(), threading.Event()

    def hold() -> None:
        with lock(tmp_path / "lock"):
            has.set()
            lets_go.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    has.wait(60)
    with lock(tmp_path / "lock", 60, gives_up=lambda: True) as held:
        assert not held
    threading.Timer(0.05, lets_go.set).start()
    with lock(tmp_path / "lock", 60) as held:
        assert held
    holder.join()


def test_it_does_not_stay_with_a_child_forked_meanwhile(tmp_path: Path) -> None:
    with lock(tmp_path / "lock"):
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
    try:
        with lock(tmp_path / "lock") as held:
            assert held
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
