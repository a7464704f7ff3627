"""After a modelled power cut everything acknowledged is there, as a prefix of the transactions; also after several.

A life of a table is recorded (cutting.py). From the record disk images are built that a cut at any moment could leave;
each is opened where no process has been, and checked. One of them is the beginning of the next life.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from cutting import Disk, digest, index_image, read_record

from engine.history import History
from engine.store import Store

LONG = os.environ.get("KENNEL_TORTURE") == "long"
MEMORY = Path("/dev/shm")
CHAINS, LIVES, CUTS = (150, 4, 60) if LONG else (4, 4, 25)
SEED = int(os.environ.get("KENNEL_SEED") or int.from_bytes(os.urandom(4))) if LONG else 7


@pytest.fixture
def root() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="kennel-cut-", dir=MEMORY if MEMORY.is_dir() else None))
    yield directory
    shutil.rmtree(directory)


class Chain:
    """Lives of one table, with a power cut after each."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.choose = random.Random(seed)
        self.table_id = uuid.UUID(int=self.choose.getrandbits(128)).bytes
        self.images = 0

    def live(self, life: int, table: Path | None) -> Path:
        directory = self.root / f"life-{life}"
        directory.mkdir()
        if table is not None:
            table.rename(directory / "table")
        durability = self.choose.choice(["commit", "interval"])
        seed = self.choose.getrandbits(30)
        script = str(Path(__file__).with_name("cutting.py"))
        subprocess.run(
            [sys.executable, script, str(directory), self.table_id.hex(), str(seed), durability],
            env=os.environ | {"KENNEL_TRACE": str(directory / "record")},
            check=True,
            timeout=120,
        )
        return directory

    def cut(self, directory: Path, number: int) -> Path:
        """Builds one image in a directory of its own, checks it, and gives it back as it was before the check."""
        events = read_record(directory / "record")
        disk = Disk(directory / "start")
        for event in events[: self.choose.randrange(len(events) + 1)]:
            disk.happen(event)
        return self._check(directory, self._lay(disk.image(self.choose), number), disk.acknowledged)

    def cut_at_the_end(self, directory: Path, number: int) -> None:
        """The same at the end of the life, with the index in the file that its checkpoint names."""
        index = index_image(directory, self.choose)
        if index is None:
            return
        disk = Disk(directory / "start")
        for event in read_record(directory / "record"):
            disk.happen(event)
        table = self._lay(disk.image(self.choose), number)
        (table / "index.kbt").hardlink_to(directory / "table" / "index.kbt")
        (table / "index.kbt").write_bytes(index)
        shutil.rmtree(self._check(directory, table, disk.acknowledged))

    def _lay(self, image: dict[str, bytes], number: int) -> Path:
        table = self.root / f"image-{number}"
        table.mkdir()
        for name, content in image.items():
            (table / name).write_bytes(content)
        return table

    def _check(self, directory: Path, table: Path, acknowledged: int) -> Path:
        self.images += 1
        before = table.with_name(table.name + "-before")
        shutil.copytree(table, before, ignore=lambda _, names: [name for name in names if name == "index.kbt"])
        states = json.loads((directory / "states").read_text())
        store = Store(str(table), self.table_id)
        try:
            assert store.generation >= acknowledged, "an acknowledged transaction is lost"
            assert digest(store) == states[str(store.generation)], "this is no state that the table was ever in"
            store.check()
            log = [each.seq for each in History(store).read(0, limit=10**6, max_bytes=1 << 30)]
            assert log == sorted(set(log)) and log[-1:] == [store.generation] * bool(log), "the log is not in order"
            store.write("upsert", [{"id": "one more"}])
            store.check()
        finally:
            store.close()
        shutil.rmtree(table)
        return before


@pytest.mark.torture
@pytest.mark.parametrize("number", range(CHAINS))
def test_a_power_cut_takes_back_nothing_that_was_acknowledged(root: Path, number: int) -> None:
    print(f"seed {SEED + number}")
    chain = Chain(root, SEED + number)
    table: Path | None = None
    for life in range(LIVES):
        directory = chain.live(life, table)
        images = [chain.cut(directory, number) for number in range(CUTS)]
        for number in range(5):
            chain.cut_at_the_end(directory, 1000 + number)
        table = chain.choose.choice(images)
        for image in images:
            if image != table:
                shutil.rmtree(image)
        shutil.rmtree(directory)
    print(f"{chain.images} images")
