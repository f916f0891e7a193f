"""What every section of ``params.yaml`` shares: strict types, no unknown keys, documented fields."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """One section of ``params.yaml``.

    Values are taken as YAML 1.2 wrote them and never converted: ``"3"`` is no number, ``yes`` is no truth value.
    The docstring under each field is its documentation and reaches the error messages.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True)
