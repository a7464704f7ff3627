"""How the command line prints results: YAML in block style, or indented JSON."""

from __future__ import annotations

import json
import sys
from typing import Any


def show(value: Any, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(value, indent=2, ensure_ascii=False))
        return
    if not isinstance(value, (dict, list)):
        print(value)
        return
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 1 << 16
    yaml.dump(value, sys.stdout)
