"""What every section of ``params.yaml`` shares: strict types, no unknown keys, documented fields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""A seed that every library of random numbers takes."""

Decibels = Annotated[float, Field(ge=-100, le=100)]
"""A ratio of powers or levels in dB. Beyond ±100 dB float32 and int16 hold nothing of the smaller one."""


def _ascending(found: list[float]) -> list[float]:
    if found[0] > found[1]:
        raise ValueError(f"found {found}; allowed: [low, high]")
    return found


Range = Annotated[list[Decibels], Field(min_length=2, max_length=2), AfterValidator(_ascending)]
"""[low, high], in dB."""

_ROOT = Path(__file__).resolve().parents[2]


class Section(BaseModel):
    """One section of ``params.yaml``.

    Values are taken as YAML 1.2 wrote them and never converted: ``"3"`` is not a number, ``yes`` is not a truth value.
    The docstring under each field is its documentation and reaches the error messages.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True)


@dataclass(frozen=True)
class ModuleOf:
    """Limits a text field to the modules of a package: a new module adds a value.

    The folder is listed and nothing is imported, so that the schema needs no library that only the modules need.

    Attributes:
        package: dotted name; modules whose names begin with an underscore do not count.
    """

    package: str

    def names(self) -> list[str]:
        """The allowed values, in alphabetical order."""
        return sorted(path.stem for path in _ROOT.joinpath(*self.package.split(".")).glob("[!_]*.py"))

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Text first, then the list."""
        return core_schema.no_info_after_validator_function(self._listed, handler(source))

    def _listed(self, value: str) -> str:
        if value not in self.names():
            raise PydanticCustomError("module_of", "allowed: {names}", {"names": " | ".join(self.names())})
        return value
