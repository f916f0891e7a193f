"""Which keys of ``params.yaml`` a search may turn, and between which values: a small YAML file, checked before anything is trained.

One line for each key, with one of four kinds: ``train.lr: {log: [1e-4, 1e-2]}`` (a number, drawn evenly on a logarithmic scale),
``model.dropout: {float: [0, 0.5]}`` (a number), ``train.augment.band_shift: {int: [0, 4]}`` (a whole number, both ends included),
``model.dim: {choose: [64, 128]}`` (one of these, of any type that the key takes, lists and null too).
"""

from __future__ import annotations

import copy
import json
import math
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

KINDS = ("choose", "float", "int", "log")
SEARCHED = ("model", "train")
"""Sections that training alone reads. What another stage reads would need that stage to run again for each trial."""
MOST_CHOICES = 100


class SpaceError(SerError):
    """A search space cannot be used; the message names the file, the key and what to write instead."""


@dataclass(frozen=True)
class Axis:
    """One key of a search space.

    Attributes:
        key: dotted key of ``params.yaml``.
        kind: one of ``KINDS``.
        values: the choices, as the schema returns them; of the other kinds the lowest and the highest value, both included.
    """

    key: str
    kind: str
    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        """Whether a value of ``params.yaml`` can be drawn."""
        if self.kind == "choose":
            return json.dumps(value) in map(json.dumps, self.values)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.values[0] <= value <= self.values[1] and (self.kind != "int" or value == int(value))

    def rounded(self, value: float) -> float:
        """Four significant digits, never beyond the ends: a value that a person can type gives the very same training."""
        return min(max(float(f"{value:.4g}"), self.values[0]), self.values[1])


def read(path: str | Path, params: Params) -> list[Axis]:
    """Read a search space and check every end and every choice against the schema.

    Args:
        path: YAML file of dotted keys.
        params: the parameters that hold for all keys which are not searched.

    Returns:
        Its axes, sorted by key.

    Raises:
        SpaceError: if the file is missing, is no YAML, holds no key, or a key that is unknown, cannot be searched or whose values the
            schema refuses. Rules between keys (a width that heads must divide) are looked at trial by trial.
    """
    try:
        found = YAML(typ="safe", pure=True).load(Path(path))
    except OSError as error:
        raise SpaceError(f"{path} cannot be read: {error.strerror}; docs/search-space.yaml is an example") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise SpaceError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(found, dict) or not found:
        raise SpaceError(f"{path} holds no keys to search; write lines like `train.lr: {{log: [1e-4, 1e-2]}}`")
    values = params.model_dump()
    return [_axis(key, found[key], values, str(path)) for key in sorted(found, key=str)]


def put(values: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the plain values of ``params.yaml`` with others in place of some, by dotted key.

    Raises:
        SpaceError: if what stands before a dot is a value, not a section.
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
        raise SpaceError(f"{where}: found the key {key!r}; keys are those of params.yaml with dots, {example}")
    if not isinstance(given, dict) or len(given) != 1 or next(iter(given)) not in KINDS:
        raise SpaceError(f"{where}: {key}: found {given!r}; needed is one of {', '.join(KINDS)} with its values: {example}")
    kind, ends = next(iter(given.items()))
    found = _choices(ends, where, key) if kind == "choose" else _ends(ends, kind, where, key)
    returned = [_checked(key, value, values, where) for value in found]
    if key.split(".")[0] not in SEARCHED:
        raise SpaceError(
            f"{where}: {key} cannot be searched here: only keys of {' and '.join(SEARCHED)} can, as they leave features and folds as they "
            f"are. Try others with `dvc exp run --queue -S '{key}=…,…'`"
        )
    if key == "train.seeds":
        raise SpaceError(
            f"{where}: {key} cannot be searched: a lucky seed is no better setting. More seeds in params.yaml steady the score"
        )
    if len(set(map(json.dumps, returned))) < len(returned):
        raise SpaceError(f"{where}: {key}: a value is named twice in {ends!r}")
    return Axis(key, kind, tuple(returned) if kind == "choose" else found)


def _choices(given: Any, where: str, key: str) -> tuple[Any, ...]:
    if not isinstance(given, list) or not 2 <= len(given) <= MOST_CHOICES:
        raise SpaceError(f"{where}: {key}: choose needs a list of 2 to {MOST_CHOICES} values, found {given!r}")
    if any(isinstance(value, dict) for value in given):
        raise SpaceError(f"{where}: {key}: choose takes values, not sections; give each key below {key} a line of its own")
    return tuple(given)


def _ends(given: Any, kind: str, where: str, key: str) -> tuple[float, float]:
    allowed = int if kind == "int" else (int, float)
    numbers = isinstance(given, list) and all(isinstance(end, allowed) and not isinstance(end, bool) for end in given)
    if not numbers or len(given) != 2 or not all(map(math.isfinite, given)) or not given[0] < given[1]:
        name = "whole numbers" if kind == "int" else "numbers"
        raise SpaceError(f"{where}: {key}: {kind} needs two {name} [low, high] with low < high, found {given!r}")
    if kind == "log" and given[0] <= 0:
        raise SpaceError(f"{where}: {key}: a logarithmic scale has no {given[0]}; the lower end must be above 0")
    return (given[0], given[1]) if kind == "int" else (float(given[0]), float(given[1]))


def _checked(key: str, value: Any, values: dict[str, Any], where: str) -> Any:
    """A value as the schema returns it (0 of a key that takes 0.5 is 0.0), unless it refuses the value of this key itself.

    Rules between keys (always a ``value_error``) depend on the rest of a trial; a value that breaks one now is returned as it is.
    """
    path = tuple(key.split("."))
    try:
        return at(Params.model_validate(put(values, {key: value})).model_dump(), key)
    except ValidationError as error:
        if any(detail["type"] != "value_error" or detail["loc"][: len(path)] == path for detail in error.errors()):
            raise SpaceError(explain(error, Params, f"{where}: {key}: {value!r}")) from None
        return value
    except SpaceError as error:
        raise SpaceError(f"{where}: {error}") from None
