"""What comes in, fuzzed with atheris: bodies in all formats, and files to load. No fault, no hang, little memory."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 720 if os.environ.get("KENNEL_TORTURE") == "long" else 3
MEGABYTES = 512  # of the whole process, of which its libraries take a quarter
HANG = 60  # seconds for one input
#: A shell starts the fuzzer: a process takes over the peak of memory of the one that it was forked from.
FORKED = ["/bin/sh", "-c", '"$@"; exit $?', "sh"]

pytestmark = pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")


@pytest.mark.torture
@pytest.mark.parametrize("entrance", ["json", "cbor", "msgpack", "csv", "records"])
def test_nothing_that_comes_in_is_a_fault(entrance: str, tmp_path: Path) -> None:
    script = Path(__file__).with_name("fuzz_entrances.py")
    seeds, root = tmp_path / "seeds", tmp_path / "root"
    seeds.mkdir()
    options = [f"-max_total_time={SECONDS}", f"-rss_limit_mb={MEGABYTES}", f"-timeout={HANG}", "-print_final_stats=1"]
    ended = subprocess.run(
        [*FORKED, sys.executable, str(script), entrance, str(root), str(seeds), *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    said = "".join(line for line in ended.stderr.splitlines(keepends=True) if not line.startswith("#"))
    assert ended.returncode == 0, said[-8000:]
    executed = re.search(r"number_of_executed_units: (\d+)", ended.stderr)
    assert executed is not None and int(executed[1]) > 100, said[-8000:]
    print(entrance, executed[1])
