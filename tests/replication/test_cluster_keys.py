"""Cluster keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import Corrupt
from engine.replication.keys import CLUSTER_FILE, NODE_FILE, derive_cluster_keys, load_keys


def test_nodes_with_one_password_have_the_same_hub_keys_and_their_own_node_keys(tmp_path: Path) -> None:
    roots = [tmp_path / name for name in ("north", "south", "other")]
    for root, password in zip(roots, ("secret", "secret", "Secret"), strict=True):
        root.mkdir()
        derive_cluster_keys(root, "cluster_user", password)
    north, south, other = (load_keys(root) for root in roots)
    assert north and south and other
    assert (north.hub_public, north.membership) == (south.hub_public, south.membership)
    assert north.hub_public != other.hub_public
    assert north.membership != other.membership
    assert len({north.node_public, south.node_public, other.node_public}) == 3
    assert load_keys(roots[0]) == north


def test_keys_are_for_their_owner_only_and_do_not_hold_the_password(tmp_path: Path) -> None:
    derive_cluster_keys(tmp_path, "cluster_user", "correct horse")
    load_keys(tmp_path)
    for name in (CLUSTER_FILE, NODE_FILE):
        path = tmp_path / "keys" / name
        assert path.stat().st_mode & 0o777 == 0o600
        assert b"correct horse" not in path.read_bytes()


def test_a_new_password_gives_new_hub_keys_and_keeps_the_node_key(tmp_path: Path) -> None:
    derive_cluster_keys(tmp_path, "cluster_user", "one")
    before = load_keys(tmp_path)
    derive_cluster_keys(tmp_path, "cluster_user", "two")
    after = load_keys(tmp_path)
    assert before and after
    assert before.hub_public != after.hub_public
    assert before.node_public == after.node_public


def test_without_a_password_there_are_no_keys(tmp_path: Path) -> None:
    assert load_keys(tmp_path) is None


def test_damaged_keys_are_named(tmp_path: Path) -> None:
    derive_cluster_keys(tmp_path, "cluster_user", "one")
    path = tmp_path / "keys" / CLUSTER_FILE
    path.write_text("{")
    with pytest.raises(Corrupt, match=CLUSTER_FILE):
        load_keys(tmp_path)
    path.write_text('{"secret": "AAAA"}')
    with pytest.raises(Corrupt):
        load_keys(tmp_path)
