"""Builds what is written in Cython. Everything else about the distribution stands in pyproject.toml."""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

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

setup(
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
    )
)
