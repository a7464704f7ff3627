"""A worker that has served nothing yet has not loaded what few requests need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SELDOM_NEEDED = {"boto3", "botocore", "shapely", "numpy", "jsonata", "zmq", "ruamel", "sqlite3", "multiprocessing"}
CODE = """
import sys
from pathlib import Path
import engine
import frontend.web
from frontend.app import create_apps
with engine.open_node(Path(sys.argv[1])) as node:
    create_apps(node)
    print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_a_fresh_worker_has_loaded_only_what_every_request_needs(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CODE, str(tmp_path)], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"flask", "gunicorn", "grammar"} <= loaded
    assert not loaded & SELDOM_NEEDED
