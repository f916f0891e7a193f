"""Every key of params.yaml × {missing, wrong type, out of range, NaN, huge, empty, its own bounds, each of its choices}.

A value is refused in words that name its key, or the stage that reads it runs with it: to its end, or as long as a dry run lasts, or to a
message of its own; never to a traceback.
"""

from __future__ import annotations

import copy
import typing
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML

from ser.params import Params, ParamsError, parse
from ser.params.base import ModuleOf
from tests.pipeline import ROOT
from tests.torture.attack import Finding, Share, Trial, ended_of, random_of
from tests.torture.ground import STAGES, Ground, set_params

MISSING = "missing"
SECONDS = {"ci": 10.0, "whole": 15.0}
"""Of one dry run. A network of the greatest widths would compute for hours, and that is no fault."""
CI_KEYS = 40
DRY = {"ci": 5, "whole": 400}
"""Accepted values that are run."""
LONGEST = 4000
"""Characters that a message about one key may have."""
WRONG: tuple[Any, ...] = (
    None,
    True,
    False,
    "text",
    "",
    0,
    1,
    -1,
    2,
    3.5,
    -0.5,
    1e-300,
    1e300,
    10**30,
    float("nan"),
    float("inf"),
    [],
    [[]],
    [1],
    ["x"],
    {},
    {"a": 1},
    "x" * 10_000,
    [0] * 10_000,
    "\0",
    "../..",
)
"""Tried on every key."""
KEPT = ("corpora.demo.", "preprocess.", "split.", "features.", "model.", "train.", "evaluate.", "export.", "runtime.", "datasets")
"""What dry runs reach without a network; the other corpora differ from the demo in ``source`` alone, which is only checked."""


def trials(ground: Ground, seed: int, share: Share) -> list[Trial]:
    """A trial for each key, which checks all its values; and one for each accepted value, which is run."""
    values, random = _values(ground), random_of(seed, "params")
    chosen = keys(values) if share == "whole" else random.sample(keys(values), CI_KEYS)
    made = [Trial(f"{key}, checked", partial(_checked, ground, key), len(list(_tries(key, values)))) for key in chosen]
    dry = []
    for key in chosen:
        if key.startswith(KEPT) and not key.startswith("corpora.demo.split"):
            for said, value in _tries(key, values):
                if value != _get(values, key) and _accepted(values, key, value):
                    dry.append(Trial(f"{key} = {said}", partial(_run, ground, key, value, SECONDS[share])))
    return made + random.sample(dry, min(DRY[share], len(dry)))


def keys(values: Any, path: str = "") -> list[str]:
    """All dotted keys, sections and leaves."""
    if not isinstance(values, dict):
        return []
    found = []
    for name, value in values.items():
        key = f"{path}.{name}" if path else name
        found += [key, *keys(value, key)]
    return found


def _tries(key: str, values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Values for a key, each with what it is called."""
    yield MISSING, MISSING
    seen = set()
    for value in [*WRONG, *_own(key, values)]:
        said = repr(value)[:60] + (f" ({len(repr(value))} characters)" if len(repr(value)) > 60 else "")
        if said not in seen:
            seen.add(said)
            yield said, value


def _own(key: str, values: dict[str, Any]) -> list[Any]:
    """The bounds of a key, what lies just beyond, and its choices."""
    field = _field(key.split("."), Params)
    if field is None:
        return []
    found: list[Any] = []
    parts = [field, *(part for part in _annotations(field.annotation) if isinstance(part, FieldInfo))]
    numbers = int if "int" in str(field.annotation) else float
    for one in parts:
        for part in one.metadata:
            if isinstance(part, ModuleOf):
                found += part.names()
            for name, step in (("ge", -1), ("le", 1), ("gt", 1), ("lt", -1)):
                bound = getattr(part, name, None)
                if bound is not None:
                    found += [numbers(bound), numbers(bound + step), numbers(bound) + step * (0 if numbers is int else 1e-6)]
    choices = [
        value for part in _annotations(field.annotation) if typing.get_origin(part) is typing.Literal for value in typing.get_args(part)
    ]
    own = _get(values, key)
    return found + choices + ([[one] for one in found] + [own * 3, own[:1], list(reversed(own))] if isinstance(own, list) else [])


def _annotations(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in (*typing.get_args(annotation), *getattr(annotation, "__metadata__", ())):
        yield from _annotations(part)


def _field(path: list[str], model: type[BaseModel]) -> FieldInfo | None:
    """The field of the schema behind a key; None for what has none, such as the name of a corpus."""
    field = model.model_fields.get(path[0])
    if field is None or len(path) == 1:
        return field
    rest = path[2:] if typing.get_origin(field.annotation) is dict else path[1:]
    models = [part for part in _annotations(field.annotation) if isinstance(part, type) and issubclass(part, BaseModel)]
    return next((found for one in models if rest and (found := _field(rest, one)) is not None), None)


def _checked(ground: Ground, key: str, folder: Path) -> tuple[list[Finding], Counter[str]]:
    """The schema's word on each value."""
    values = _values(ground)
    found, outcomes = [], Counter[str]()
    for said, value in _tries(key, values):
        try:
            message = _refused(values, key, value)
        except Exception as error:
            found.append(Finding("traceback", f"{key} = {said}: {type(error).__name__}: {str(error)[:200]}"))
            continue
        outcomes["refused" if message else "accepted"] += 1
        if message and len(message) > LONGEST:
            found.append(Finding("words", f"{key} = {said}: a message of {len(message)} characters"))
        last = key.rpartition(".")[2]
        if message and last not in message and key.split(".")[0] not in message:
            found.append(Finding("words", f"{key} = {said}: the message does not name the key: {ended_of(message)}"))
    return found, outcomes


def _accepted(values: dict[str, Any], key: str, value: Any) -> bool:
    try:
        return _refused(values, key, value) is None
    except Exception:  # which ``_checked`` finds
        return False


def _refused(values: dict[str, Any], key: str, value: Any) -> str | None:
    """The message about a value; None where it is accepted."""
    try:
        parse(_with(values, key, value))
    except ParamsError as error:
        return str(error)
    return None


def _run(ground: Ground, key: str, value: Any, seconds: float, folder: Path) -> tuple[list[Finding], Counter[str]]:
    """Run the first stage that reads the key."""
    stage = _reader(key)
    place = ground.lay(folder, stage)
    changed = _with(_values(ground), key, value)
    set_params(place.work, changed)
    ended = place.stage(stage, seconds)
    if ended.traced:
        return [Finding("traceback", f"{stage}: {ended_of(ended.said)}")], Counter()
    if ended.hung:
        return [], Counter({"still at work when the dry run was over": 1})
    if ended.code != 0 and "error: " not in ended.said:
        return [Finding("words", f"{stage} ends with {ended.code}: {ended_of(ended.said)}")], Counter()
    return [], Counter({"runs" if ended.code == 0 else "told by the stage": 1})


def _reader(key: str) -> str:
    """The first stage that has this key among its parameters; keys of ``runtime`` concern all."""
    stages = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]
    for stage in STAGES:
        for listed in stages[stage].get("params", []):
            name = listed.replace("${item.dataset}", "demo")
            if f"{key}.".startswith(f"{name}.") or f"{name}.".startswith(f"{key}."):
                return stage
    return "train"


def _values(ground: Ground) -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(ground.folder / "params.yaml")


def _get(values: Any, key: str) -> Any:
    for name in key.split("."):
        values = values[name]
    return values


def _with(values: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The values with another one at this key, or without it."""
    changed = copy.deepcopy(values)
    *path, last = key.split(".")
    section = changed
    for name in path:
        section = section[name]
    if isinstance(value, str) and value == MISSING:
        del section[last]
    else:
        section[last] = value
    return changed
