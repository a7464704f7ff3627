"""The pid file: its lock says whether a node is supervised, whatever the file holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.process import CannotStart, Exit
from frontend import pidfile

HOLD = """
import signal, sys
from pathlib import Path
from frontend import pidfile
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
with pidfile.held(Path(sys.argv[1])):
    print("held", flush=True)
    signal.sigwait([signal.SIGTERM])
    sys.stdin.read()
"""


@contextmanager
def another_process(root: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the pid file until SIGTERM and then the end of its input."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_nobody_holds_a_file_that_is_not_there_or_not_locked(tmp_path: Path) -> None:
    assert pidfile.holder(tmp_path) is None
    assert pidfile.holder(tmp_path / "nowhere") is None
    for content in ("", "1\n", f"{os.getpid()}\n", "nonsense"):
        (tmp_path / pidfile.FILE_NAME).write_text(content)
        assert pidfile.holder(tmp_path) is None
        assert pidfile.terminate(tmp_path, 1) is None


def test_the_holder_is_known_and_alone(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        assert pidfile.holder(tmp_path) == process.pid
        with pytest.raises(CannotStart, match="already running") as caught, pidfile.held(tmp_path):
            pass
        assert caught.value.status == Exit.HELD
    assert pidfile.holder(tmp_path) is None


def test_a_file_left_by_a_killed_holder_is_no_obstacle(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / pidfile.FILE_NAME).read_text() == f"{process.pid}\n"
    with pidfile.held(tmp_path):
        assert (tmp_path / pidfile.FILE_NAME).read_text() == f"{os.getpid()}\n"


def test_the_file_goes_with_a_clean_end(tmp_path: Path) -> None:
    with pidfile.held(tmp_path):
        assert (tmp_path / pidfile.FILE_NAME).exists()
    assert not (tmp_path / pidfile.FILE_NAME).exists()


def test_termination_waits_for_the_end(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        assert pidfile.terminate(tmp_path, 0.1) is False
        assert process.stdin is not None
        process.stdin.close()
        assert pidfile.terminate(tmp_path, 30) in (True, None)
        assert process.wait(30) == 0
    assert pidfile.holder(tmp_path) is None
