"""kennel backup and kennel restore: a node that runs is brought back as another that runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from nodes import RealNode

from engine.errors import InvalidRequest
from frontend.cli.archive import moment


def test_a_running_node_is_brought_back_elsewhere(
    real_node: RealNode, make_node: Callable[..., RealNode], tmp_path: Path
) -> None:
    real_node.post("create_table", schema="dev", table="dog", hash_attribute="id")
    real_node.post("insert", schema="dev", table="dog", records=[{"id": 1, "name": "Penny"}])
    time.sleep(0.01)
    before = str(time.time_ns() / 1e6)
    real_node.post("update", schema="dev", table="dog", records=[{"id": 1, "name": "Rosie"}])
    whole, part = tmp_path / "whole.backup", tmp_path / "part.backup"
    made = real_node.kennel("backup", str(whole), "--ROOTPATH", str(real_node.root))
    assert (made.returncode, made.stderr) == (0, "")
    assert real_node.kennel("backup", str(part), "schema=dev", "--ROOTPATH", str(real_node.root)).returncode == 0
    assert whole.stat().st_mode & 0o077 == 0

    again = make_node("again")
    http, functions = str(again.port), str(again.functions_port)
    ports = ["--OPERATIONSAPI_NETWORK_PORT", http, "--CUSTOMFUNCTIONS_NETWORK_PORT", functions]
    restored = again.kennel("restore", str(whole), "--ROOTPATH", str(again.root), *ports)
    assert (restored.returncode, restored.stderr) == (0, "")
    assert again.start().returncode == 0
    assert again.sql("SELECT name FROM dev.dog") == (200, [{"name": "Rosie"}])

    earlier = make_node("earlier")
    arguments = ["restore", str(part), "--ROOTPATH", str(earlier.root), "--until", before]
    assert "schema dev with 1 table" in earlier.kennel(*arguments).stdout
    earlier.start_or_fail()
    assert earlier.sql("SELECT name FROM dev.dog") == (200, [{"name": "Penny"}])


def test_what_is_refused(real_node: RealNode, tmp_path: Path) -> None:
    file, root = tmp_path / "a.backup", ["--ROOTPATH", str(real_node.root)]
    unknown = real_node.kennel("backup", str(file), "schema=none", *root)
    assert (unknown.returncode, unknown.stderr) == (1, "kennel: schema 'none' does not exist\n")
    assert real_node.kennel("backup", str(file), "table=dog", *root).returncode == 2
    assert not file.exists()
    file.write_text("no backup")
    running = real_node.kennel("restore", str(file), *root)
    assert running.returncode == 6
    damaged = real_node.kennel("restore", str(file), "--ROOTPATH", str(tmp_path / "new"))
    assert damaged.returncode == 1
    assert damaged.stderr.startswith("kennel: the backup is damaged or cut off")
    assert (
        real_node.kennel("restore", str(file), "--until", "soon", "--ROOTPATH", str(tmp_path / "new")).returncode == 2
    )


def test_times() -> None:
    assert moment("2026-03-01T12:00:00Z") == moment("2026-03-01T13:00:00+01:00") == 1772366400_000000
    assert moment("1772366400000.5") == 1772366400_000500
    with pytest.raises(InvalidRequest, match="'soon' is no time"):
        moment("soon")
