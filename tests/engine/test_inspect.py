"""What `python -m engine.inspect` says of sound, damaged, running and stopped roots."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import inspect
from engine.logcheck import check_log
from engine.process import Exit


@pytest.fixture
def filled(node: engine.Node) -> engine.Table:
    table = node.create_table("dev", "dog")
    for key in range(20):
        table.upsert([{"id": key % 7, "name": f"n{key}", "tags": [key]}], user="ann")
    table.delete([3, 4])
    node.create_table("dev", "cat").insert([{"id": "a"}])
    return table


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str]:
    status = inspect.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0x10]))


def test_a_sound_root(node: engine.Node, filled: engine.Table, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(capsys, node.root, "check")
    assert status == Exit.OK
    assert text.splitlines()[-1] == "no damage was found"
    assert "dev.dog: sound\n    5 records; log: 21 transactions, 25 operations in 1 segments" in text


def test_a_compacted_and_checkpointed_table_is_sound(node: engine.Node, capsys: pytest.CaptureFixture[str]) -> None:
    table = node.create_table("dev", "dog")
    for turn in range(30):
        table.upsert([{"id": number, "turn": turn, "pad": "x" * 1000} for number in range(100)])
    table.delete([1, 2, 3])
    with table.view():
        node.maintain(0)
        status, text = run(capsys, node.root, "check", "dev.dog")
        assert (status, "a compacted segment stands for it" in text) == (Exit.OK, True)
    node.maintain(0)
    status, text = run(capsys, node.root, "check", "dev.dog")
    assert status == Exit.OK, text
    assert "checkpoint after transaction" in text


def test_damage_is_named_with_file_and_byte(
    node: engine.Node, filled: engine.Table, capsys: pytest.CaptureFixture[str]
) -> None:
    segment = filled.directory / "000001.log"
    flip(segment, 4096 + 60)
    status, text = run(capsys, node.root, "check")
    assert status == Exit.FAILED
    assert "dev.dog: damaged\n    damage: 000001.log, byte 4096: the frame is damaged" in text
    assert "dev.cat: sound" in text
    status, text = run(capsys, node.root, "check", "dev.cat")
    assert (status, "dev.dog" in text) == (Exit.OK, False)


def test_a_damaged_page_is_named_with_its_index_and_mended_by_the_next_open(
    node: engine.Node, filled: engine.Table, capsys: pytest.CaptureFixture[str]
) -> None:
    node.close()
    index = node.root / "schema" / filled.id / "index.kbt"
    content = index.read_bytes()
    page = next(at for at in range(2 * 4096, len(content), 4096) if b"n19" in content[at : at + 4096])
    flip(index, page + 4095)
    status, text = run(capsys, node.root, "check", "dev.dog")
    assert status == Exit.FAILED
    assert "dev.dog: damaged\n    damage: Table 'dev.dog'" in text
    assert re.search(
        rf"page {page // 4096} of index\.kbt, of the index of attribute \d+, is damaged: its checksum", text
    )
    assert run(capsys, node.root, "check", "dev.dog")[0] == Exit.OK


def test_a_stopped_root_with_a_damaged_table(
    node: engine.Node, filled: engine.Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node.close()
    copy = Path(shutil.copytree(node.root, tmp_path / "copy"))
    flip(copy / "schema" / filled.id / "000001.log", 20)
    status, text = run(capsys, copy, "check")
    assert status == Exit.FAILED
    assert "damage: 000001.log, byte 0: the segment's header at byte 0 is damaged" in text


def test_a_damaged_catalog(
    node: engine.Node, filled: engine.Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node.close()
    copy = Path(shutil.copytree(node.root, tmp_path / "copy"))
    flip(copy / "schema" / str(inspect.CATALOG_ID) / "000001.log", 4096 + 60)
    status, text = run(capsys, copy, "check")
    assert status == Exit.FAILED
    assert "catalog: damaged\n    damage: 000001.log, byte 4096: the frame is damaged" in text
    assert "the names of the tables are not to be had" in text
    assert f"{filled.id}: sound" in text


class LaggingView:
    """The index of an earlier moment under the transaction number of a later one."""

    def __init__(self, earlier: Any, seq: int) -> None:
        self.seq, self.place_of, self.count = seq, earlier.place_of, earlier.count


def test_an_index_that_lags_behind_the_log_is_found(filled: engine.Table) -> None:
    with filled.view() as view:
        filled.update([{"id": 1, "name": "later"}])
        filled.insert([{"id": 100}])
        filled.delete([2])
        lagging: Any = LaggingView(view.snapshot, view.seq + 3)
        found = {finding.text for finding in check_log(filled.directory, lagging).damage}
    assert found == {
        "the index has an earlier state of the record 1",
        "the record 2 was deleted, and is still in the index",
    }
    with filled.view() as now:
        assert check_log(filled.directory, now.snapshot).damage == []


def test_rebuild_makes_the_indexes_anew(
    node: engine.Node, filled: engine.Table, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = list(filled.search("id", "starts_with", ""))
    status, text = run(capsys, node.root, "rebuild")
    assert (status, "is open in another process" in text) == (Exit.HELD, True)
    node.close()
    index = node.root / "schema" / filled.id / "index.kbt"
    index.write_bytes(b"\x55" * index.stat().st_size)
    status, text = run(capsys, node.root, "rebuild", "dev.dog")
    assert (status, text) == (Exit.OK, "dev.dog: rebuilt, 5 records\n")
    assert run(capsys, node.root, "rebuild")[0] == Exit.OK
    assert run(capsys, node.root, "check")[0] == Exit.OK
    with engine.open_node(node.root) as again:
        assert list(again.table("dev", "dog").search("id", "starts_with", "")) == expected


def test_rebuild_is_refused_while_a_node_runs(node: engine.Node, capsys: pytest.CaptureFixture[str]) -> None:
    node.close()
    descriptor = os.open(node.root / "maintenance.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        status, text = run(capsys, node.root, "rebuild")
    finally:
        os.close(descriptor)
    assert (status, text) == (Exit.HELD, f"inspect: a node is running in {node.root}\n")


def test_stat(node: engine.Node, filled: engine.Table, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(capsys, node.root, "stat")
    assert status == Exit.OK
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    assert rows["dev.dog"][:4] == ["5", "5", "21", "1"]
    assert rows["dev.cat"][:4] == ["1", "3", "1", "1"]


def test_dump(node: engine.Node, filled: engine.Table, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(capsys, node.root, "dump", "dev.dog")
    assert status == Exit.OK
    transactions = [json.loads(line) for line in text.splitlines()]
    assert [transaction["seq"] for transaction in transactions] == list(range(1, 22))
    assert transactions[7]["changes"][0]["previous"] == {"name": "n0", "tags": [0]}
    assert (transactions[20]["operation"], transactions[19]["user"]) == ("delete", "ann")


def test_dump_goes_as_far_as_the_log_is_sound(
    node: engine.Node, filled: engine.Table, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(filled.directory / "000001.log", 4096 + 900)
    status, text = run(capsys, node.root, "dump", "dev.dog")
    assert status == Exit.FAILED
    lines = text.splitlines()
    assert 1 < len(lines) < 21
    assert "is damaged" in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], Exit.USAGE),
        (["none", "check"], Exit.ROOT),
        (["none", "rebuild"], Exit.ROOT),
        (["root", "explode"], Exit.USAGE),
        (["root", "dump"], Exit.USAGE),
        (["root", "stat", "dev.none"], Exit.USAGE),
    ],
)
def test_wrong_use(node: engine.Node, arguments: list[str], expected: Exit, capsys: pytest.CaptureFixture[str]) -> None:
    placed = [str(node.root.with_name(arguments[0])), *arguments[1:]] if arguments else []
    assert run(capsys, *placed)[0] == expected
