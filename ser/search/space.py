"""Search spaces: which keys of ``params.yaml`` a search varies, and between which values.

A space is a small YAML file, checked before anything is trained. It has one line per key, with one of four
kinds:

- ``train.lr: {log: [1e-4, 1e-2]}``: a number, uniform on a logarithmic scale;
- ``model.dropout: {float: [0, 0.5]}``: a number;
- ``train.augment.band_shift: {int: [0, 4]}``: a whole number, both ends included;
- ``model.dim: {choose: [64, 128]}``: one of these values, of any type that the key accepts, lists and null
  too.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ser import SerError
from ser.params import Params
from ser.params.explain import explain
from ser.runtime.files import text

KINDS = ("choose", "float", "int", "log")
SEARCHED = ("model", "train")
"""Sections that only training reads. Other sections would need other stages to run again for each trial."""
MOST_CHOICES = 100
MOST = 1 << 20
"""Bytes of the file."""


class SpaceError(SerError):
    """A search space cannot be used. The message names the file, the key and a correct example."""


@dataclass(frozen=True)
class Axis:
    """One key of a search space.

    Attributes:
        key: dotted key of ``params.yaml``.
        kind: one of ``KINDS``.
        values: the choices, as the schema returns them; for the other kinds the lowest and the highest value,
            included.
    """

    key: str
    kind: str
    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        """Whether a value of ``params.yaml`` lies in this axis."""
        if self.kind == "choose":
            return json.dumps(value) in map(json.dumps, self.values)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.values[0] <= value <= self.values[1] and (self.kind != "int" or value == int(value))

    def rounded(self, value: float) -> float:
        """Round to four significant digits within the ends, so that a typed value gives the same training."""
        return min(max(float(f"{value:.4g}"), self.values[0]), self.values[1])


def read(path: str | Path, params: Params) -> list[Axis]:
    """Read a search space and check every end and every choice against the schema.

    Args:
        path: YAML file of dotted keys.
        params: the parameters of all keys that are not searched.

    Returns:
        Its axes, sorted by key.

    Raises:
        SpaceError: if the file is missing, is not YAML or holds no key; if a key is unknown or cannot be
            searched, or the schema refuses its values. Rules between keys (heads must divide a width) are
            checked trial by trial.
    """
    try:
        space = YAML(typ="safe", pure=True).load(text(path, MOST))
    except FileNotFoundError as error:
        raise SpaceError(f"{path} cannot be read: {error.strerror}; docs/search-space.yaml is an example") from None
    except RecursionError:
        raise SpaceError(f"{path} nests too deep") from None
    except SerError as error:
        raise SpaceError(f"{error}; docs/search-space.yaml is an example") from None
    except (YAMLError, ValueError, KeyError) as error:  # a date or truth value that is none, a number of thousands of digits
        raise SpaceError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(space, dict) or not space:
        raise SpaceError(f"{path} holds no keys to search; write lines like `train.lr: {{log: [1e-4, 1e-2]}}`")
    values = params.model_dump()
    return [_axis(key, space[key], values, str(path)) for key in sorted(space, key=str)]


def put(values: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the plain values of ``params.yaml``, with some replaced by dotted key.

    Raises:
        SpaceError: if a name before a dot is a value, not a section.
    """
    result = copy.deepcopy(dict(values))
    for key, value in chosen.items():
        section = result
        *path, last = key.split(".")
        for name in path:
            section = section.setdefault(name, {})
            if not isinstance(section, dict):
                raise SpaceError(f"{key}: {name} is a value, not a section")
        section[last] = value
    return result


def at(values: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key among the plain values of ``params.yaml``."""
    value: Any = values
    for name in key.split("."):
        value = value[name]
    return value


def _axis(key: Any, given: Any, values: dict[str, Any], where: str) -> Axis:
    example = "write, for instance, `train.lr: {log: [1e-4, 1e-2]}`"
    if not isinstance(key, str):
        raise SpaceError(f"{where}: found the key {_shown(key)}; keys are those of params.yaml with dots, {example}")
    if not isinstance(given, dict) or len(given) != 1 or next(iter(given)) not in KINDS:
        raise SpaceError(f"{where}: {key}: found {_shown(given)}; expected one of {', '.join(KINDS)} with its values: {example}")
    kind, ends = next(iter(given.items()))
    given = _choices(ends, where, key) if kind == "choose" else _ends(ends, kind, where, key)
    returned = [_checked(key, value, values, where) for value in given]
    if key.split(".")[0] not in SEARCHED:
        raise SpaceError(
            f"{where}: {key} cannot be searched here: only keys of {' and '.join(SEARCHED)} can, because they do not change features "
            f"and folds. Try others with `dvc exp run --queue -S '{key}=…,…'`"
        )
    if key == "train.seeds":
        raise SpaceError(
            f"{where}: {key} cannot be searched: a lucky seed is not a better setting. More seeds in params.yaml make the score steadier"
        )
    if len(set(map(json.dumps, returned))) < len(returned):
        raise SpaceError(f"{where}: {key}: a value is named twice in {_shown(ends)}")
    return Axis(key, kind, tuple(returned) if kind == "choose" else given)


def _choices(given: Any, where: str, key: str) -> tuple[Any, ...]:
    if not isinstance(given, list) or not 2 <= len(given) <= MOST_CHOICES:
        raise SpaceError(f"{where}: {key}: choose needs a list of 2 to {MOST_CHOICES} values, found {_shown(given)}")
    if any(isinstance(value, dict) for value in given):
        raise SpaceError(f"{where}: {key}: choose accepts values, not sections; give each key below {key} a line of its own")
    return tuple(given)


def _ends(given: Any, kind: str, where: str, key: str) -> tuple[float, float]:
    allowed = int if kind == "int" else (int, float)
    most = sys.float_info.max
    numbers = isinstance(given, list) and all(isinstance(end, allowed) and not isinstance(end, bool) for end in given)
    if not numbers or len(given) != 2 or not all(-most <= end <= most for end in given) or not given[0] < given[1]:
        name = "whole numbers" if kind == "int" else "numbers"
        raise SpaceError(f"{where}: {key}: {kind} needs two {name} [low, high] with low < high, found {_shown(given)}")
    if kind == "log" and given[0] <= 0:
        raise SpaceError(f"{where}: {key}: found {given[0]}; on a logarithmic scale the lower end must be above 0")
    return (given[0], given[1]) if kind == "int" else (float(given[0]), float(given[1]))


def _shown(value: Any) -> str:
    """A value of the file for a message, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write thousands of digits
        return "a value too long to write"
    return text if len(text) <= 200 else f"{text[:199]}…"


def _checked(key: str, value: Any, values: dict[str, Any], where: str) -> Any:
    """A value as the schema returns it: 0 becomes 0.0 for a key of type float.

    Rules between keys (always a ``value_error``) depend on the other values of a trial. A value that breaks
    only such a rule is returned unchanged.

    Raises:
        SpaceError: if the schema refuses the value of this key itself.
    """
    path = tuple(key.split("."))
    try:
        return at(Params.model_validate(put(values, {key: value})).model_dump(), key)
    except ValidationError as error:
        if any(detail["type"] != "value_error" or detail["loc"][: len(path)] == path for detail in error.errors()):
            raise SpaceError(explain(error, Params, f"{where}: {key}: {_shown(value)}")) from None
        return value
    except SpaceError as error:
        raise SpaceError(f"{where}: {error}") from None
