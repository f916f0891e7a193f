"""Bounds that a result must meet before its model is released."""

from __future__ import annotations

from ser import SerError
from ser.evaluation import metrics
from ser.evaluation.numbers import DIGITS, Json
from ser.evaluation.result import Measured
from ser.params.evaluate import Gate


class GateError(SerError):
    """A bound of ``evaluate.gates`` is broken."""


def check_gates(result: Measured, gates: list[Gate], corpus: str) -> None:
    """Check the result of a corpus against the user's bounds.

    A gate whose metric does not exist also counts as broken, e.g. a slice that the corpus does not have.

    Raises:
        GateError: with one line for each broken gate and the main scores.
    """
    values = result.plain()
    broken = [line for gate in gates if gate.corpus in (None, corpus) and (line := _broken(values, gate))]
    if broken:
        scores = ", ".join(f"{metric.name} {_digits(result.scores[metric.name])}" for metric in metrics.METRICS)
        lines = "\n".join(f"  {line}" for line in broken)
        raise GateError(
            f"{corpus} does not pass evaluate.gates:\n{lines}\n  {scores}, n {result.n}, protocol {result.protocol}\n"
            "Improve the model, or change the bound in params.yaml (evaluate.gates)."
        )


def _broken(values: dict[str, Json], gate: Gate) -> str | None:
    """Why a gate is broken; None if it holds."""
    value: Json = values
    for key in gate.metric.split("."):
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            known = ", ".join(value) if isinstance(value, dict) else "nothing more"
            return f"{gate.metric}: no such number; {key!r} not found, known there: {known}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{gate.metric}: is {value!r}, not a number; name another metric, or give the gate the corpus that has it"
    if gate.at_least is not None and value < gate.at_least:
        return f"{gate.metric} = {_digits(value)} is below at_least {gate.at_least:g}"
    if gate.at_most is not None and value > gate.at_most:
        return f"{gate.metric} = {_digits(value)} is above at_most {gate.at_most:g}"
    return None


def _digits(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.{DIGITS}f}"
