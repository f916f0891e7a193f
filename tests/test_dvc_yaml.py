"""dvc.yaml says what the code does: dependencies are the imports, parameters are the keys that are read, and no stage knows the machine."""

from __future__ import annotations

from typing import Any

import pytest
from ruamel.yaml import YAML

from ser import params
from tests.dependencies import ROOT, is_code, needed_by

STAGES: dict[str, dict[str, Any]] = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]


@pytest.mark.parametrize("name", STAGES)
def test_dependencies_are_exactly_the_imports(name):
    assert {dep for dep in STAGES[name]["deps"] if is_code(dep)} == needed_by(f"stages/{name}.py")


def test_every_stage_script_is_a_stage():
    scripts = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__", "command", "compare", "preset", "search"}
    assert scripts == set(STAGES)


def test_stages_run_once_per_corpus_except_the_report():
    """The name stands in quotes: DVC hands the command to a shell before anything of ours checks the name."""
    for name, stage in STAGES.items():
        assert ("matrix" in stage) == (name != "report"), name
        assert stage["cmd"] == f"python -m stages.{name}" + (" --dataset '${item.dataset}'" if name != "report" else "")


def keys(values: Any, path: str = "") -> list[str]:
    """All dotted leaf keys of params.yaml; lists are leaves."""
    if isinstance(values, dict):
        return [found for key, value in values.items() for found in keys(value, f"{path}.{key}" if path else key)]
    return [path]


def test_every_parameter_is_read_by_some_stage_and_runtime_by_none():
    listed = [key.replace("${item.dataset}", "demo") for stage in STAGES.values() for key in stage.get("params", [])]
    leaves = [key for key in keys(params.load(ROOT / "params.yaml").model_dump()) if not key.startswith("corpora.") or ".demo." in key]
    for leaf in leaves:
        readers = [key for key in listed if leaf == key or leaf.startswith(key + ".")]
        assert bool(readers) != leaf.startswith("runtime"), leaf


def test_listed_parameters_exist_for_every_corpus():
    values = params.load(ROOT / "params.yaml").model_dump()
    for name, stage in STAGES.items():
        for key in stage.get("params", []):
            for corpus in values["corpora"]:
                found: Any = values
                for part in key.replace("${item.dataset}", corpus).split("."):
                    assert part in found, (name, key, corpus)
                    found = found[part]


def test_the_costly_stage_has_only_cached_outputs():
    """An uncached output would keep the run cache from ever bringing a training back."""
    assert set(STAGES["train"]) == {"matrix", "cmd", "deps", "params", "outs"}
    assert all(isinstance(out, str) for out in STAGES["train"]["outs"])
