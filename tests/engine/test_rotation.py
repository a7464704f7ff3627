"""The log is rotated by one process while others write to it, and no line gets lost."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine import logs
from engine.configuration import Configuration
from engine.rotation import SETTLED, Rotation

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def configured(root: Path, **rotation: Any) -> Configuration:
    """The settings of a node that rotates its log by these `logging.rotation.*`."""
    (root / "log").mkdir(exist_ok=True)
    parameters = {"logging_rotation_enabled": True} | {f"logging_rotation_{name}": rotation[name] for name in rotation}
    return Configuration.load(root).replace(parameters)


def write(root: Path, size: int, moment: datetime = START) -> None:
    line = json.dumps({"timestamp": moment.isoformat(), "message": "x" * size})
    with (root / "log" / logs.FILE_NAME).open("a") as file:
        file.write(line + "\n")


def later() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=SETTLED)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_log_that_reached_its_size_is_renamed(tmp_path: Path) -> None:
    rotation = Rotation(configured(tmp_path, maxSize="1K"), lambda: START)
    rotation.look_after()
    write(tmp_path, 500)
    rotation.look_after()
    assert names(tmp_path / "log") == [logs.FILE_NAME]
    write(tmp_path, 500)
    rotation.look_after()
    assert names(tmp_path / "log") == ["HDB-2026-03-01T-12-00-00Z.log"]
    write(tmp_path, 2000)
    rotation.look_after()
    assert names(tmp_path / "log") == ["HDB-2026-03-01T-12-00-00Z-2.log", "HDB-2026-03-01T-12-00-00Z.log"]


@pytest.mark.parametrize(("interval", "span"), [("1D", 86400), ("2H", 7200), ("30M", 1800)])
def test_a_log_whose_first_line_is_old_is_renamed(tmp_path: Path, interval: str, span: int) -> None:
    now = START
    rotation = Rotation(configured(tmp_path, interval=interval), lambda: now)
    write(tmp_path, 10)
    for seconds, expected in ((span - 1, [logs.FILE_NAME]), (span, None)):
        now = START + timedelta(seconds=seconds)
        rotation.look_after()
        assert names(tmp_path / "log") == (expected or [f"HDB-{now:%Y-%m-%dT-%H-%M-%S}Z.log"])
    write(tmp_path, 10, now)
    rotation.look_after()
    assert logs.FILE_NAME in names(tmp_path / "log")


def test_what_was_renamed_is_compressed_and_moved_once_nobody_writes_to_it(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    settings = configured(tmp_path, maxSize="1K", compress=True, path=str(tmp_path / "old"))
    write(tmp_path, 2000)
    content = (tmp_path / "log" / logs.FILE_NAME).read_bytes()
    for _ in range(2):
        Rotation(settings).look_after()
        assert len(names(tmp_path / "log")) == 1 and names(tmp_path / "old") == []
    Rotation(settings, later).look_after()  # whichever process it is
    assert names(tmp_path / "log") == []
    (packed,) = (tmp_path / "old").iterdir()
    assert packed.name.endswith("Z.log.gz") and gzip.decompress(packed.read_bytes()) == content


def test_nothing_rotates_unless_it_is_asked_for(tmp_path: Path) -> None:
    for settings in (configured(tmp_path, enabled=False, maxSize="1K"), configured(tmp_path)):
        write(tmp_path, 2000)
        Rotation(settings, lambda: START).look_after()
        assert names(tmp_path / "log") == [logs.FILE_NAME]


def test_no_line_of_any_process_gets_lost(tmp_path: Path) -> None:
    settings = configured(tmp_path, maxSize="4K", compress=True)
    settings.save()
    code = (
        "import logging, sys; from pathlib import Path; from engine import logs\n"
        "from engine.configuration import Configuration\n"
        "logs.configure(Configuration.load(Path(sys.argv[1])), sys.argv[2])\n"
        "for number in range(2000): logging.getLogger().error('line %d', number)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in ("one", "two")]
    while any(writer.poll() is None for writer in writers):
        Rotation(settings).look_after()
    assert [writer.returncode for writer in writers] == [0, 0]
    Rotation(settings, later).look_after()
    packed = list((tmp_path / "log").glob("*.gz"))
    content = b"".join(gzip.decompress(path.read_bytes()) for path in packed)
    content += b"".join(path.read_bytes() for path in (tmp_path / "log").glob("*.log"))
    lines = [json.loads(line) for line in content.splitlines()]
    found = sorted((line["thread"].partition("/")[0], int(line["message"].split()[1])) for line in lines)
    assert packed and found == [(name, number) for name in ("one", "two") for number in range(2000)]
