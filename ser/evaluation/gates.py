"""Bounds that a result must keep, for whoever ships one."""

from __future__ import annotations

from typing import Any

from ser import SerError
from ser.evaluation.scoring import DIGITS, SCORES
from ser.params.evaluate import Gate


class GateError(SerError):
    """A bound of ``evaluate.gates`` is broken."""


def check_gates(values: dict[str, Any], gates: list[Gate], corpus: str) -> None:
    """Hold the metrics of a corpus against the user's bounds.

    A gate whose number does not exist (a slice this corpus does not have) is broken too: a bound that cannot be checked protects nobody.

    Raises:
        GateError: with one line for each broken gate and the main scores.
    """
    broken = [line for gate in gates if gate.corpus in (None, corpus) and (line := _broken(values, gate))]
    if broken:
        scores = ", ".join(f"{name} {values[name]:.{DIGITS}f}" for name in SCORES)
        lines = "\n".join(f"  {line}" for line in broken)
        raise GateError(
            f"{corpus} does not pass evaluate.gates:\n{lines}\n  {scores}, n {values['n']}, protocol {values['protocol']}\n"
            "Improve the model, or change the bound in params.yaml (evaluate.gates)."
        )


def _broken(values: dict[str, Any], gate: Gate) -> str | None:
    found: Any = values
    for key in gate.metric.split("."):
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        else:
            known = ", ".join(found) if isinstance(found, dict) else "nothing more"
            return f"{gate.metric}: no such number; {key!r} not found, known there: {known}"
    if isinstance(found, bool) or not isinstance(found, int | float):
        return f"{gate.metric}: is {found!r}, not a number; name another metric, or give the gate the corpus that has it"
    if gate.at_least is not None and found < gate.at_least:
        return f"{gate.metric} = {found:.{DIGITS}f} is below at_least {gate.at_least:g}"
    if gate.at_most is not None and found > gate.at_most:
        return f"{gate.metric} = {found:.{DIGITS}f} is above at_most {gate.at_most:g}"
    return None
