"""Turns pydantic's errors into lines that name the key, what was found, what is allowed and what the key means."""

from __future__ import annotations

import difflib
import reprlib
import types
import typing
from typing import Any, Literal, Union

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ser.params.base import ModuleOf


class _Repr(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to write a number of thousands of digits."""
        return super().repr_int(x, level) if x.bit_length() < 1000 else f"a number of {x.bit_length()} bits"


_SHORT = _Repr()
"""How a value is shown: anchors and aliases of YAML can make a short file a value without end."""
_SHORT.maxlevel = 2
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 200

MOST_LINES = 15
"""Faults that a message names; the rest are counted."""

_BOUNDS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}", "min_length": "at least {} entries", "max_length": "at most {} entries"}


LONGEST = 600
"""Characters of a line of a message; a value may be a whole file."""


def explain(error: ValidationError, root: type[BaseModel], where: str) -> str:
    """One line per faulty key, most useful first: ``train.lr: found 'fast' (text); allowed: a number > 0, ≤ 10``."""
    details = error.errors(include_url=False)
    lines = [_line(detail, root) for detail in details[:MOST_LINES]]
    if (beyond := len(details) - MOST_LINES) > 0:
        lines.append(f"… and {beyond:,} more")
    said = [line if len(line) <= LONGEST else f"{line[:LONGEST]} …" for line in dict.fromkeys(lines)]
    return f"{where} cannot be used:\n" + "\n".join(f"  {line}" for line in said)


def _line(detail: ErrorDetails, root: type[BaseModel]) -> str:
    kind, found = detail["type"], detail["input"]
    path, owner, field = _resolve(detail["loc"], root, kind == "extra_forbidden")
    key = ".".join(path)
    if kind == "extra_forbidden":
        known = list(owner.model_fields) if owner else []
        close = difflib.get_close_matches(path[-1], known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"{key}: unknown key; {hint}known here: {', '.join(known)}"
    if kind == "missing":
        return f"{key}: missing; {_allowed(field)}{_meaning(field)}"
    if kind in ("value_error", "unknown_view"):
        return f"{key + ': ' if key else ''}{detail['msg'].removeprefix('Value error, ')}"
    if kind == "union_tag_invalid" or kind == "union_tag_not_found":
        return f"{key}.kind: {detail['msg']}"
    if kind == "finite_number":
        return f"{key}: found {_SHORT.repr(found)}, which is not finite; {_allowed(field)}{_meaning(field)}"
    return f"{key}: found {_SHORT.repr(found)} ({_yaml_type(found)}); {_allowed(field) or detail['msg']}{_meaning(field)}"


def _resolve(
    loc: tuple[int | str, ...], root: type[BaseModel], unknown_key: bool
) -> tuple[list[str], type[BaseModel] | None, FieldInfo | None]:
    """Walk the model along an error's location, leaving out the names pydantic adds for union members. An unknown key may be like one."""
    path: list[str] = []
    owner: type[BaseModel] | None = root
    field: FieldInfo | None = None
    candidates: list[type[BaseModel]] = [root]
    for part in loc[:-1] if unknown_key else loc:
        match = next((model for model in candidates if part in model.model_fields), None)
        if match is not None:
            owner, field = match, match.model_fields[str(part)]
            candidates = _models(field.annotation)
        elif any(_tag(model) == part for model in candidates):
            candidates = [model for model in candidates if _tag(model) == part]
            owner = candidates[0]
            continue
        elif part in ("int", "float", "str", "bool") or str(part).startswith(("literal[", "list[", "constrained-")):
            continue
        elif candidates:
            owner = candidates[0]
        path.append(str(part))
    if unknown_key:
        path.append(str(loc[-1]))
        owner = candidates[0] if candidates else owner
    return path, owner, field


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in _models(argument)]


def _tag(model: type[BaseModel]) -> str | None:
    kind = model.model_fields.get("kind")
    values = typing.get_args(kind.annotation) if kind else ()
    return values[0] if len(values) == 1 else None


def _allowed(field: FieldInfo | None) -> str:
    if field is None:
        return ""
    for part in field.metadata:
        if isinstance(part, ModuleOf):
            return "allowed: " + " | ".join(part.names())
    patterns = [f"matching {part.pattern}" for part in field.metadata if getattr(part, "pattern", None)]
    return "allowed: " + ", ".join([_name(field.annotation), *_bounds(field), *patterns])


def _bounds(field: FieldInfo) -> list[str]:
    return [
        text.format(getattr(part, name))
        for part in field.metadata
        for name, text in _BOUNDS.items()
        if getattr(part, name, None) is not None
    ]


def _name(annotation: Any) -> str:
    """The annotation in YAML's words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " | ".join(str(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_name(argument) for argument in arguments)
    if origin is list:
        return f"a list of {_name(arguments[0])}"
    if origin is typing.Annotated:
        return ", ".join(
            [_name(arguments[0]), *(bound for part in arguments[1:] if isinstance(part, FieldInfo) for bound in _bounds(part))]
        )
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "a section"
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}.get(
        annotation, str(annotation)
    )


def _meaning(field: FieldInfo | None) -> str:
    return f". {' '.join(field.description.split())}" if field and field.description else ""


def _yaml_type(value: Any) -> str:
    names = {bool: "true/false", int: "whole number", float: "number", str: "text", list: "list", dict: "section", type(None): "null"}
    return names.get(type(value), type(value).__name__)
