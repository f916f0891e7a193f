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

from ser import SerError
from ser.params import parse, plain
from ser.runtime.files import text
from ser.runtime.output import printed
from ser.runtime.text import printable
from ser.search.space import put
from stages.changes import by_key, since_commit
from stages.ending import in_words

FOLDER = Path("docs/presets")
MOST = 1 << 20
"""Bytes that a preset may have."""
WHOLE = ("features.encoder", "features.copies")
"""Sections that params.yaml may hold as null: a preset gives such a section whole."""


def main() -> None:
    """Command line: see ``python -m stages.preset --help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", help="name of a file in docs/presets/, without suffix; left out: list them")
    options = parser.parse_args()
    with in_words(), printed():
        if options.preset is None:
            show()
        else:
            preset = checked(options.preset)
            if carried := carries(preset):
                print(carried, file=sys.stderr)
            print("\n".join(overrides(preset)))


def names(folder: Path = FOLDER) -> list[str]:
    """The presets there are."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def show(folder: Path = FOLDER) -> None:
    """Print the presets there are, and what the first line of each says of it."""
    for name in names(folder):
        print(printable(f"{name:<16} {title(name, folder)}"))


def title(name: str, folder: Path = FOLDER) -> str:
    """What the first line of a preset says of it, or why it cannot be read."""
    path = folder / f"{name}.yaml"
    try:
        return text(path, MOST).partition("\n")[0].removeprefix("# ") or "(its first line is empty)"
    except FileNotFoundError:
        return f"{path}: no such file; is it a link?"
    except SerError as error:
        return str(error)


def checked(name: str, folder: Path = FOLDER, params: Path = Path("params.yaml")) -> dict[str, Any]:
    """Keys and values of a preset, once params.yaml with them put in has passed the schema.

    Raises:
        SerError: if there is no such preset, it or params.yaml cannot be read, or the result breaks the schema.
    """
    if name not in names(folder):
        asked = f"no preset {name!r} in {folder}/" if name else "no preset is named"
        raise SerError(f"{asked}; there are: {', '.join(names(folder))}")
    preset, values = plain(folder / f"{name}.yaml", f"{folder / name}.yaml"), plain(params, str(params))
    if not isinstance(preset, dict):
        raise SerError(f"{folder / name}.yaml holds no keys of params.yaml")
    if not isinstance(values, dict):
        parse(values, str(params))  # it says what is wrong
    parse(merged(values, preset), f"{params} with preset {name}")
    return preset


def merged(values: dict[str, Any], preset: dict[str, Any]) -> dict[str, Any]:
    """``values`` with those of a preset in place of their own, section by section; lists are replaced whole."""
    return put(values, by_key(preset, whole=WHOLE))


def overrides(preset: dict[str, Any]) -> list[str]:
    """One ``-S key=value`` for each value of a preset, safe in a shell without quotes."""
    return [f"-S {key}={literal(value)}" for key, value in by_key(preset, whole=WHOLE).items()]


def carries(preset: dict[str, Any]) -> str | None:
    """A note on keys that differ from the last commit and that the preset leaves so: the experiment would run with both."""
    mixed = [key for key in since_commit() if key not in by_key(preset, whole=WHOLE)]
    if not mixed:
        return None
    return f"note: params.yaml differs from the last commit, and this experiment includes: {', '.join(mixed)}; undo with `make reset`"


def literal(value: Any) -> str:
    """A value in DVC's syntax.

    Raises:
        SerError: if it holds what a shell would read otherwise.
    """
    if isinstance(value, list):
        return f"[{','.join(map(literal, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{literal(one)}' for key, one in value.items())}}}"
    text = {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
    if not re.fullmatch(r"[A-Za-z0-9_.+-]+", text):
        raise SerError(f"a preset can hold only numbers, truth values, null and plain words, found {text!r}")
    return text


if __name__ == "__main__":
    main()
