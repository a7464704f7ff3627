"""The files of projects: a directory each, with `routes/` and `helpers/` for Python files, and `static/`.

Names hold letters, digits, dashes and underscores only, so none leads out of its directory; what a symbolic link in a
project leads to counts only within the project. Changes are seen by those who serve the projects at the next reload,
which is a change of the file RELOAD.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import re
import secrets
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from frontend.errors import Refused

KINDS = ("helpers", "routes")
STATIC = "static"
SUFFIX = ".py"
RELOAD = ".reload"
MAX_BYTES = 256 << 20  # of a packaged project, and of its files
MAX_FILES = 10_000
LEFT_OUT = ("__pycache__",)
NODE_MODULES = "node_modules"

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_NO_PROJECT = "Project does not exist. Create one using 'add_custom_function_project'"
_BAD_PACKAGE = "Packaged project must be base64-encoded tar file of project directory"

_TEMPLATE = {
    "routes/examples.py": '''"""Routes under /{project}. See docs/functions.md for what `kennel` offers."""

from flask import Blueprint


def routes(kennel):
    blueprint = Blueprint("examples", __name__)

    @blueprint.get("/")
    def open_to_all():
        return {{"project": "{project}"}}

    @blueprint.get("/tables")
    @kennel.authenticated
    def as_the_caller():
        return kennel.request({{"operation": "describe_all"}})

    return blueprint
''',
    "helpers/__init__.py": "",
    "static/index.html": "<!doctype html>\n<title>{project}</title>\n<p>{project}</p>\n",
}


def is_name(text: str) -> bool:
    """Whether a text can name a project or a file in it."""
    return _NAME.fullmatch(text) is not None


class Projects:
    """The projects in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        if not self.root.is_dir():
            return []
        return sorted(path.name for path in self.root.iterdir() if is_name(path.name) and path.is_dir())

    def directory(self, project: str) -> Path:
        """400 when there is no such project."""
        directory = self.root / project
        if not is_name(project) or not directory.is_dir():
            raise Refused(400, _NO_PROJECT)
        return directory

    def files(self, project: str, kind: str) -> list[str]:
        """The Python files of one kind, without their suffix."""
        folder = self.directory(project) / kind
        found = folder.glob(f"*{SUFFIX}") if folder.is_dir() else ()
        return sorted(path.stem for path in found if is_name(path.stem) and path.is_file())

    def overview(self) -> dict[str, Any]:
        return {
            project: {kind: self.files(project, kind) for kind in reversed(KINDS)}
            | {STATIC: sum(path.is_file() for path in (self.root / project / STATIC).rglob("*"))}
            for project in self.names()
        }

    # --- single files

    def read(self, project: str, kind: str, file: str) -> str:
        return self._existing(project, kind, file).read_text(errors="replace")

    def write(self, project: str, kind: str, file: str, content: str) -> str:
        """Gives the name of the file."""
        folder = self.directory(project) / kind
        folder.mkdir(mode=0o700, exist_ok=True)
        target = self._within(project, folder / f"{file}{SUFFIX}")
        draft = folder / f".{file}.{secrets.token_hex(4)}.tmp"
        draft.write_text(content)
        draft.replace(target)
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)  # may be taken for that of the new file
        return target.name

    def drop(self, project: str, kind: str, file: str) -> str:
        path = self._existing(project, kind, file)
        path.unlink()
        return path.name

    def _existing(self, project: str, kind: str, file: str) -> Path:
        path = self._within(project, self.directory(project) / kind / f"{file}{SUFFIX}")
        if not path.is_file():
            raise Refused(400, "File does not exist")
        return path

    def _within(self, project: str, path: Path) -> Path:
        if not path.resolve().is_relative_to((self.root / project).resolve()):
            raise Refused(400, "File does not exist")
        return path

    # --- whole projects

    def add(self, project: str) -> None:
        """Make a project from the template."""
        if (self.root / project).exists():
            raise Refused(400, "Project already exists")
        draft = self._draft()
        for name, content in _TEMPLATE.items():
            path = draft / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_text(content.format(project=project))
        draft.rename(self.root / project)

    def remove(self, project: str) -> None:
        directory = self.directory(project)
        if directory.is_symlink():
            directory.unlink()
            return
        gone = self.root / f".gone-{secrets.token_hex(8)}"
        directory.rename(gone)
        shutil.rmtree(gone)

    def package(self, project: str, *, node_modules: bool) -> bytes:
        """A project as a tar file; 413 when it is too large."""
        directory = self.directory(project)
        left_out = LEFT_OUT if node_modules else (*LEFT_OUT, NODE_MODULES)
        files = list(_files(directory, left_out))
        if sum(path.stat().st_size for path in files) > MAX_BYTES:
            raise Refused(413, f"The project '{project}' is too large to be packaged")
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for path in files:
                archive.add(path, str(path.relative_to(directory)), recursive=False)
        return packed.getvalue()

    def deploy(self, project: str, payload: str) -> None:
        """Put a project in place of whatever had its name; nothing changes when the payload is not acceptable."""
        draft = self._draft()
        try:
            _unpack(payload, draft)
            inner = draft / project
            source = inner if [*draft.iterdir()] == [inner] and inner.is_dir() else draft
            if (self.root / project).exists():
                self.remove(project)
            source.rename(self.root / project)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _draft(self) -> Path:
        draft = self.root / f".draft-{secrets.token_hex(8)}"
        draft.mkdir(mode=0o700, parents=True)
        return draft

    # --- reload

    def reload(self) -> None:
        """Have everybody who serves these projects load them anew."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.root / f"{RELOAD}.{secrets.token_hex(4)}"
        draft.write_text(secrets.token_hex(8))
        draft.replace(self.root / RELOAD)

    def state(self) -> tuple[int, int]:
        """Changes with every reload."""
        try:
            status = os.stat(self.root / RELOAD)  # noqa: PTH116 - for each request, and Path.stat takes twice as long
        except FileNotFoundError:
            return 0, 0
        return status.st_ino, status.st_mtime_ns


def _files(directory: Path, left_out: tuple[str, ...]) -> Iterator[Path]:
    """Regular files, without following links, which a packaged project could not hold."""
    for path in sorted(directory.rglob("*")):
        parts = path.relative_to(directory).parts
        if path.is_file() and not path.is_symlink() and not set(left_out).intersection(parts):
            yield path


def _unpack(payload: str, directory: Path) -> None:
    """Unpack a base64-encoded tar file with nothing but files and directories of sane names in it."""
    if len(payload) > MAX_BYTES * 2:
        raise Refused(413, "The packaged project is too large")
    try:
        packed = base64.b64decode(payload, validate=True)
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            size = count = 0
            for member in archive:
                size, count = size + member.size, count + 1
                if size > MAX_BYTES or count > MAX_FILES:
                    raise Refused(413, "The packaged project is too large")
                archive.extract(member, directory, filter="data")
            if not count:
                raise Refused(400, _BAD_PACKAGE)
    except (binascii.Error, ValueError, tarfile.TarError, EOFError, OSError, MemoryError):
        raise Refused(400, _BAD_PACKAGE) from None
