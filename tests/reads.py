"""Run a stage and write down which keys of params.yaml it reads: ``python tests/reads.py OUT stages.train --dataset demo``.

Keys that are read by their name count, in this process. A section written out as a whole (``model.json``) is not seen.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Watch the sections of ``ser.params.load``, then run the module as if it had been started itself."""
    out, module, *arguments = sys.argv[1:]
    sys.path[0] = str(Path.cwd())  # the project that is run, not the one this file is of
    from ser import params
    from ser.params.base import Section

    paths: dict[int, str] = {}
    kept: list[Section] = []  # an id is only that of one object as long as it lives
    read: set[str] = set()
    plain_load, plain_get = params.load, Section.__getattribute__

    def walk(value: Any, path: str) -> None:
        if isinstance(value, Section):
            paths[id(value)] = path
            kept.append(value)
            for name in type(value).model_fields:
                walk(plain_get(value, name), f"{path}.{name}" if path else name)
        elif isinstance(value, dict):
            for name, inner in value.items():
                walk(inner, f"{path}.{name}")

    def load(*given: Any) -> params.Params:
        values = plain_load(*given)
        walk(values, "")
        return values

    def get(section: Section, name: str) -> Any:
        value = plain_get(section, name)
        if id(section) in paths and name in type(section).model_fields and not isinstance(value, Section | dict):
            read.add(f"{paths[id(section)]}.{name}".removeprefix("."))
        return value

    params.load = load
    Section.__getattribute__ = get
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        Path(out).write_text(json.dumps(sorted(read)))


if __name__ == "__main__":
    main()
