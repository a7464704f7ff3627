"""Data directories that earlier versions wrote open as they were; those of unknown formats are refused."""

from __future__ import annotations

import json
import shutil
import struct
import tarfile
from pathlib import Path

import pytest

import engine
from engine import logfile
from engine.inspect import check
from tests.golden import make

GOLDEN = sorted(make.HERE.glob("*.tar.gz"))


@pytest.fixture
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with tarfile.open(request.param) as tar:
        tar.extractall(tmp_path / "golden", filter="data")
    return tmp_path / "golden"


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.name, indirect=True)
def test_a_golden_directory_opens(golden: Path) -> None:
    expected = json.loads((golden / "expected.json").read_text())
    with engine.open_node(golden, create=False) as node:
        assert make.contents(node) == expected
        for name in node.tables("golden"):
            table = node.table("golden", name)
            table.upsert([{table.primary_key: "new"}])
            with table.view() as view:
                view.snapshot.check()
    assert check(golden, None) == 0


def test_there_is_one_of_the_present_format() -> None:
    assert make.HERE / f"format-{logfile.FORMAT}.tar.gz" in GOLDEN


def test_what_is_made_now_would_do(tmp_path: Path) -> None:
    make.make(tmp_path)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as tar:
        tar.extractall(tmp_path / "root", filter="data")
    with engine.open_node(tmp_path / "root", create=False) as node:
        assert make.contents(node) == json.loads((tmp_path / "root" / "expected.json").read_text())


def test_an_unknown_segment_format_is_refused_by_name(node: engine.Node, tmp_path: Path) -> None:
    table = node.create_table("dev", "dog")
    table.insert([{"id": 1}])
    node.create_table("dev", "cat").insert([{"id": 1}])
    node.close()
    copy = Path(shutil.copytree(node.root, tmp_path / "copy"))
    segment = copy / "schema" / table.id / "000001.log"
    header = bytearray(segment.read_bytes()[:72])
    struct.pack_into("<H", header, 4, 2)
    struct.pack_into("<I", header, 64, logfile.crc32c(header[:64]))
    with segment.open("r+b") as file:
        file.write(header)
    with engine.open_node(copy) as again:
        with pytest.raises(engine.RootError, match=r"000001\.log has format 2; this version reads format 1"):
            again.table("dev", "dog")
        assert again.table("dev", "cat").count() == 1
