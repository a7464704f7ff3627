"""The configuration of one node: defaults, `<root>/kennel-config.yaml`, environment and command line as one tree.

Command line beats environment beats file beats default. A parameter is the camelCase path of a setting joined by `_`
(or dots), in any case: `OPERATIONSAPI_NETWORK_PORT`, `operationsApi_network_port`. Which settings there are stands in
`engine.settings`. Paths are kept as given, so that a root directory can be moved; `get` and `tree` resolve relative
ones against the root.

Parameters in `INSTALL_ONLY` belong to the first start, or hold secrets; they are recognised and never stored.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from engine.errors import InvalidRequest
from engine.files import failure, replace_file
from engine.settings import ALIASES, SECTION_NOTES, SETTINGS, Refused

FILE_NAME = "kennel-config.yaml"
PREFIX = "KennelDB config file validation error: "

# Parameter (lower case) -> the name under which it is handed to the installation.
INSTALL_ONLY: dict[str, str] = {
    "hdb_admin_username": "admin_username",
    "kennel_admin_username": "admin_username",
    "hdb_admin_password": "admin_password",
    "kennel_admin_password": "admin_password",
    "clustering_password": "cluster_password",
    "tc_agreement": "tc_agreement",
    "hdb_config": "import_file",
}

_PARAMETERS: dict[str, str] = {name.replace(".", "_").lower(): name for name in SETTINGS} | {
    alias.replace(".", "_").lower(): name for alias, name in ALIASES.items()
}

_SECTIONS = {name[:end] for name in SETTINGS for end, letter in enumerate(name) if letter == "."}


def setting_named(parameter: str) -> str | None:
    """The dotted name of the setting that a parameter means, in whatever case and with whichever separators."""
    return _PARAMETERS.get(parameter.replace(".", "_").lower())


def installation(parameters: Mapping[str, str]) -> dict[str, str]:
    """What the parameters say about the first start: a subset of the values of INSTALL_ONLY as keys."""
    given = ((INSTALL_ONLY.get(name.lower()), value) for name, value in parameters.items())
    return {name: value for name, value in given if name is not None}


def parse_arguments(arguments: Sequence[str]) -> dict[str, str]:
    """`--NAME value` and `--NAME=value` as a mapping, names in lower case; InvalidRequest for anything else."""
    given: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not name:
            raise InvalidRequest(f"'{argument}' is not understood; parameters are given as --PARAM value")
        if not equals:
            found = next(rest, None)
            if found is None:
                raise InvalidRequest(f"parameter --{name} needs a value")
            value = found
        given[name.lower()] = value
    return given


def unknown_parameters(parameters: Mapping[str, object]) -> list[str]:
    """Those parameters that name neither a setting, nor the root directory, nor something of the first start."""

    def known(name: str) -> bool:
        return name.lower() == "rootpath" or name.lower() in INSTALL_ONLY or setting_named(name) is not None

    return [name for name in parameters if not known(name)]


class Configuration:
    """The settings of one root directory at one moment; a value, not a view: changes make a new one."""

    def __init__(self, root: Path, values: Mapping[str, Any]) -> None:
        self.root = root
        self._values = {name: values.get(name, setting.default) for name, setting in SETTINGS.items()}

    @classmethod
    def load(
        cls,
        root: str | os.PathLike[str],
        environment: Mapping[str, str] | None = None,
        arguments: Mapping[str, object] | None = None,
        file: str | os.PathLike[str] | None = None,
    ) -> Configuration:
        """The configuration of the node in `root`; what is not in its file (or when there is none) has its default.

        `environment` and `arguments` map parameters to values, unknown ones are passed over. `file` is read instead
        of the node's own, and has to be there. InvalidRequest when a value is not acceptable or the file is not
        readable as YAML.
        """
        directory = Path(root)
        if file is not None and not Path(file).exists():
            raise InvalidRequest(f"{PREFIX}Specified path {file} does not exist.")
        configuration = cls(directory, {}).replace(_flattened(_read(Path(file or directory / FILE_NAME))))
        # Variables of one word (SCHEMAS) may well be meant for other programs.
        from_environment = {name: value for name, value in (environment or {}).items() if "_" in name}
        return configuration.replace(from_environment).replace(arguments or {})

    def get(self, name: str) -> Any:
        """The value of a setting by its dotted name; KeyError for a name that is none."""
        name = ALIASES.get(name, name)
        return self._resolved(name, self._values[name])

    def tree(self) -> dict[str, Any]:
        """All settings as nested objects in camelCase, paths resolved; older names of a setting stand beside it."""
        tree: dict[str, Any] = {"rootPath": str(self.root)}
        for name in (*SETTINGS, *ALIASES):
            *sections, leaf = name.split(".")
            place = tree
            for section in sections:
                place = place.setdefault(section, {})
            place[leaf] = self.get(name)
        return tree

    def replace(self, values: Mapping[str, object]) -> Configuration:
        """A configuration with these parameters set, all or (InvalidRequest) none; unknown parameters are dropped."""
        changed: dict[str, Any] = {}
        refusals: list[str] = []
        for parameter, value in values.items():
            name = setting_named(parameter)
            if name is None:
                continue
            try:
                changed[name] = self._accepted(name, value)
            except Refused as refusal:
                refusals.append(str(refusal))
        replaced = Configuration(self.root, self._values | changed)
        refusals += replaced._contradictions()
        if refusals:
            raise InvalidRequest(PREFIX + ". ".join(refusals))
        return replaced

    def save(self) -> None:
        """Write the file: comments and unknown members stay, the former file goes to `backup/`, and whoever reads
        meanwhile sees the old or the new file whole. Without a difference nothing is written."""
        path = self.root / FILE_NAME
        yaml = _yaml()
        former = path.read_bytes() if path.exists() else None
        document = yaml.load(former) if former is not None else _new_document()
        document["rootPath"] = str(self.root)
        for name, value in self._values.items():
            _store(document, name.split("."), value)
        for alias in ALIASES:
            _drop(document, alias.split("."))
        text = io.BytesIO()
        yaml.dump(document, text)
        if text.getvalue() == former:
            return
        if former is not None:
            _keep(path, self.root / "backup")
        replace_file(path, text.getvalue())

    def _accepted(self, name: str, value: object) -> Any:
        setting = SETTINGS[name]
        accepted = setting.accept(value)
        if setting.must_exist and accepted != setting.default and not Path(self._resolved(name, accepted)).exists():
            raise Refused(f"Specified path {accepted} does not exist.")
        return accepted

    def _resolved(self, name: str, value: Any) -> Any:
        return str(self.root / value) if SETTINGS[name].is_path and value is not None else value

    def _contradictions(self) -> list[str]:
        listeners = {"operationsApi.network": "operationsApi.network", "customFunctions.network": "http"}
        return [
            f"{shown}.port and {shown}.securePort cannot be the same value"
            for name, shown in listeners.items()
            if self._values[f"{name}.securePort"] == self._values[f"{name}.port"] != 0
        ]


def change(
    root: str | os.PathLike[str],
    values: Mapping[str, object] | Callable[[Configuration], Mapping[str, object]],
) -> Configuration:
    """Set parameters in the file of a node, one process at a time; `values` may be computed from what is there.

    Gives the configuration as it now stands in the file. InvalidRequest as in `Configuration.replace`.
    """
    with locked(Path(root)):
        before = Configuration.load(root)
        after = before.replace(values(before) if callable(values) else values)
        after.save()
        return after


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep other processes from changing the configuration of `root`; not to be nested. The lock is on the directory
    itself, which needs no file of its own."""
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _yaml() -> Any:
    from ruamel.yaml import YAML  # here, because it takes longer to import than all the rest

    yaml = YAML()
    yaml.width = 200
    yaml.representer.add_representer(
        type(None), lambda make, _: make.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _represent_null(representer: Any, _: None) -> Any:
    """`key: null`; left to itself ruamel writes `key:`, which reads like something forgotten."""
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _read(path: Path) -> Any:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise failure(path, error) from error
    from ruamel.yaml.error import YAMLError

    try:
        return _yaml().load(text) or {}
    except YAMLError as error:
        raise InvalidRequest(f"{PREFIX}{path} is not valid YAML: {' '.join(str(error).split())}") from error


def _flattened(tree: Any, prefix: str = "") -> dict[str, object]:
    """The members of a tree by dotted name; a name that is a setting keeps its value whole."""
    if not isinstance(tree, Mapping):
        raise InvalidRequest(f"{PREFIX}'{prefix.rstrip('.') or 'configuration'}' must be of type object")
    flat: dict[str, object] = {}
    for member, value in tree.items():
        name = f"{prefix}{member}"
        if name not in SETTINGS and (isinstance(value, Mapping) or (name in _SECTIONS and value is not None)):
            flat |= _flattened(value, f"{name}.")
        else:
            flat[name] = _plain(value)
    return flat


def _plain(value: Any) -> Any:
    """A value without ruamel's own container types."""
    if isinstance(value, Mapping):
        return {str(member): _plain(item) for member, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _new_document() -> Any:
    from ruamel.yaml.comments import CommentedMap

    document = CommentedMap(rootPath="")
    document.yaml_set_start_comment("The configuration of a KennelDB node. Changes by hand need a restart.\n")
    for name, setting in SETTINGS.items():
        _store(document, name.split("."), setting.default)
    for section, note in SECTION_NOTES.items():
        document.yaml_set_comment_before_after_key(section, before=f"\n{note}")
    return document


def _store(place: Any, sections: list[str], value: Any) -> None:
    """Set one value in a document, leaving the node (and its comments) alone when it is there already."""
    from ruamel.yaml.comments import CommentedMap

    *parents, leaf = sections
    for parent in parents:
        if not isinstance(place.get(parent), Mapping):
            place[parent] = CommentedMap()
        place = place[parent]
    if leaf not in place or _plain(place[leaf]) != value or type(_plain(place[leaf])) is not type(value):
        place[leaf] = value


def _drop(place: Any, sections: list[str]) -> None:
    """Take a member out of a document, and the sections that this leaves empty."""
    section, *inner = sections
    if not isinstance(place, MutableMapping) or section not in place:
        return
    if inner:
        _drop(place[section], inner)
    if not inner or place[section] == {}:
        del place[section]


def _keep(path: Path, directory: Path) -> None:
    if directory.is_dir():
        stamp = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime()) + f".{time.time_ns() // 1000 % 1_000_000:06d}Z"
        os.link(path, directory / f"{path.stem}-{stamp}{path.suffix}")
