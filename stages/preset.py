"""Print the overrides that turn params.yaml into a known system, for ``dvc exp run``.

``dvc exp run $(python -m stages.preset zenkov)`` runs a preset, ``python -m stages.preset`` lists them. A
preset is a parameter file in docs/presets/ that holds only the keys that differ.
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
from ser.search.space import put

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
        asked = f"no preset {name!r} in {folder}/" if name else "no preset is named"
        raise SerError(f"{asked}; there are: {', '.join(names(folder))}")
    yaml = YAML(typ="safe", pure=True)
    preset = yaml.load(folder / f"{name}.yaml")
    parse(merged(yaml.load(params), preset), f"{params} with preset {name}")
    return preset


def merged(values: dict[str, Any], preset: dict[str, Any]) -> dict[str, Any]:
    """``values`` with those of a preset in place of their own, section by section; lists are replaced whole."""
    return put(values, _by_key(preset))


def overrides(preset: dict[str, Any]) -> list[str]:
    """One ``-S key=value`` for each value of a preset, safe in a shell without quotes."""
    return [f"-S {key}={literal(value)}" for key, value in _by_key(preset).items()]


def literal(value: Any) -> str:
    """A value in DVC's syntax.

    Raises:
        SerError: if it holds what a shell would read otherwise.
    """
    if isinstance(value, list):
        return f"[{','.join(map(literal, value))}]"
    text = {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
    if not re.fullmatch(r"[A-Za-z0-9_.+-]+", text):
        raise SerError(f"a preset can hold only numbers, truth values, null and plain words, found {text!r}")
    return text


def _by_key(preset: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a preset by dotted key."""
    values: dict[str, Any] = {}
    for key, value in preset.items():
        values |= _by_key(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return values


if __name__ == "__main__":
    main()
