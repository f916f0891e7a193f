"""Print the overrides that turn params.yaml into a known system, for ``dvc exp run``.

``dvc exp run $(python -m stages.preset zenkov)`` runs a preset, ``python -m stages.preset`` lists them. A preset is a parameter file in
docs/presets/ that holds only the keys that differ.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ser import SerError
from ser.params import parse

FOLDER = Path("docs/presets")


def main() -> None:
    """Command line: see ``python -m stages.preset --help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", help="name of a file in docs/presets/, without suffix; left out: list them")
    options = parser.parse_args()
    try:
        if options.preset is None:
            for name in names():
                print(f"{name:<16} {(FOLDER / f'{name}.yaml').read_text(encoding='utf-8').splitlines()[0].removeprefix('# ')}")
        else:
            print("\n".join(overrides(checked(options.preset))))
    except SerError as error:
        sys.exit(f"error: {error}")


def names(folder: Path = FOLDER) -> list[str]:
    """The presets there are."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def checked(name: str, folder: Path = FOLDER, params: Path = Path("params.yaml")) -> dict[str, Any]:
    """Keys and values of a preset, once params.yaml with them put in has passed the schema.

    Raises:
        SerError: if there is no such preset, or the result breaks the schema.
    """
    if name not in names(folder):
        raise SerError(f"no preset {name!r} in {folder}/; there are: {', '.join(names(folder))}")
    yaml = YAML(typ="safe", pure=True)
    preset = yaml.load(folder / f"{name}.yaml")
    parse(merged(yaml.load(params), preset), f"{params} with preset {name}")
    return preset


def merged(values: dict[str, Any], preset: dict[str, Any]) -> dict[str, Any]:
    """``values`` with those of a preset in place of their own, section by section; lists are replaced whole."""
    result = dict(values)
    for key, value in preset.items():
        inside = result.get(key)
        result[key] = merged(inside, value) if isinstance(value, dict) and isinstance(inside, dict) else value
    return result


def overrides(preset: dict[str, Any], prefix: str = "") -> list[str]:
    """One ``-S key=value`` for each value of a preset, in DVC's syntax and safe in a shell without quotes."""
    lines = []
    for key, value in preset.items():
        lines += overrides(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"-S {prefix}{key}={_literal(value)}"]
    return lines


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_literal, value))}]"
    text = {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
    if not re.fullmatch(r"[A-Za-z0-9_.+-]+", text):
        raise SerError(f"a preset can hold only numbers, truth values, null and plain words, found {text!r}")
    return text


if __name__ == "__main__":
    main()
