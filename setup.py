"""Builds the Cython modules and the tables of the SQL grammar. Everything else stands in pyproject.toml."""

import importlib.util
import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SANITIZE = os.environ.get("KENNEL_SANITIZE")  # for example "address,undefined"
COMPILE = ["-O3", "-g1", "-std=gnu11", "-Wno-unused-function", "-Wno-unreachable-code", "-Wno-sign-compare"]
LINK: list[str] = []
if SANITIZE:
    COMPILE += [f"-fsanitize={SANITIZE}", "-O1", "-fno-omit-frame-pointer"]
    LINK += [f"-fsanitize={SANITIZE}"]

extensions = [
    Extension(
        f"{package}.*",
        [f"{package}/*.pyx"],
        include_dirs=["engine/c"],
        extra_compile_args=COMPILE,
        extra_link_args=[*LINK, "-pthread"],
    )
    for package in ("engine", "grammar", "frontend")
]


class Build(build_ext):
    """The extensions, and the tables of the SQL grammar beside them."""

    def run(self) -> None:
        super().run()
        place = importlib.util.spec_from_file_location("tables", "grammar/tables.py")
        assert place is not None and place.loader is not None
        tables = importlib.util.module_from_spec(place)  # the package around it needs the extensions
        place.loader.exec_module(tables)
        tables.build(Path("grammar") if self.inplace else Path(self.build_lib) / "grammar")


setup(
    cmdclass={"build_ext": Build},
    ext_modules=cythonize(
        extensions,
        nthreads=os.cpu_count() or 1,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": True,
        },
    ),
)
