"""The keys of links between nodes, in `<root>/keys/`, mode 0600.

`cluster.key` is derived from the cluster user's name and password, so that all nodes of a cluster have the same: the
CURVE key pair of every hub, whose public half a node must know to connect at all and which never travels, and the
secret with which nodes prove to each other that they belong. The password itself is not kept. `node.key` is this node's
own CURVE key pair, made once, under which it dials others.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
import zmq
import zmq.utils.z85
from argon2.low_level import Type, hash_secret_raw

from engine.errors import Corrupt
from engine.files import replace_file

CLUSTER_FILE = "cluster.key"
NODE_FILE = "node.key"

# Nodes must come to the same keys without talking to each other, so the salt is fixed; the cost makes up for it.
SALT = hashlib.sha256(b"KennelDB cluster keys, version 1").digest()[:16]
PASSES, MEMORY_KIB, LANES = 3, 64 << 10, 1


@dataclass(frozen=True, slots=True)
class ClusterKeys:
    """CURVE keys are Z85 texts as bytes; `membership` is shared by all nodes of the cluster."""

    hub_public: bytes
    hub_secret: bytes
    membership: bytes
    node_public: bytes
    node_secret: bytes


class _Kept(msgspec.Struct):
    secret: str
    membership: str = ""


def derive_cluster_keys(root: Path, user: str, password: str) -> None:
    """Make and keep the keys of the cluster of this user and password; takes about 0.1 s."""
    secret = hashlib.sha256(user.encode()).digest() + password.encode()
    derived = hash_secret_raw(secret, SALT, PASSES, MEMORY_KIB, LANES, 64, Type.ID)
    _keep(root, CLUSTER_FILE, _Kept(base64.b64encode(derived[:32]).decode(), base64.b64encode(derived[32:]).decode()))


def load_keys(root: Path) -> ClusterKeys | None:
    """The keys of a node; None when no cluster password was ever given. Corrupt when the files are damaged."""
    cluster = _kept(root, CLUSTER_FILE)
    if cluster is None:
        return None
    node = _kept(root, NODE_FILE)
    if node is None:
        node = _Kept(base64.b64encode(os.urandom(32)).decode())
        _keep(root, NODE_FILE, node)
    try:
        hub_public, hub_secret = _pair(cluster.secret)
        node_public, node_secret = _pair(node.secret)
        return ClusterKeys(hub_public, hub_secret, base64.b64decode(cluster.membership), node_public, node_secret)
    except ValueError as error:
        raise Corrupt(f"The keys in {root / 'keys'} are damaged: {error}") from error


def _pair(secret: str) -> tuple[bytes, bytes]:
    encoded = zmq.utils.z85.encode(base64.b64decode(secret))
    return zmq.curve_public(encoded), encoded


def _kept(root: Path, name: str) -> _Kept | None:
    path = root / "keys" / name
    with contextlib.suppress(FileNotFoundError):
        try:
            return msgspec.json.decode(path.read_bytes(), type=_Kept)
        except msgspec.DecodeError as error:
            raise Corrupt(f"{path} is damaged: {error}") from error
    return None


def _keep(root: Path, name: str, kept: _Kept) -> None:
    directory = root / "keys"
    directory.mkdir(mode=0o700, exist_ok=True)
    replace_file(directory / name, msgspec.json.encode(kept))
