"""dvc.yaml says what the code does: dependencies are the imports, parameters are the keys that are read, and no stage knows the machine."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from ruamel.yaml import YAML

from ser import params
from tests import dependencies
from tests.dependencies import ROOT, is_code, needed_by, tracked_by

PIPELINE: dict[str, Any] = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")
STAGES: dict[str, dict[str, Any]] = PIPELINE["stages"]


@pytest.mark.parametrize("name", STAGES)
def test_dependencies_are_exactly_the_imports(name):
    assert {dep for dep in STAGES[name]["deps"] if is_code(dep)} == tracked_by(f"stages/{name}.py")


def test_writing_the_dependencies_changes_nothing_else(tmp_path, monkeypatch):
    """From a file with a wrong dependency and a missing one, `make deps` makes the file that is there, comments included."""
    text = (ROOT / "dvc.yaml").read_text()
    for name in ("ser", "stages"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    (tmp_path / "dvc.yaml").write_text(
        text.replace("    - ser/model\n", "    - ser/nothing.py\n", 1).replace("    - stages/split.py\n", "")
    )
    monkeypatch.setattr(dependencies, "ROOT", tmp_path)
    dependencies.write()
    assert (tmp_path / "dvc.yaml").read_text() == text


def test_only_what_computes_nothing_is_left_out():
    """The head of dvc.yaml gives the reason for each."""
    left_out = set().union(*(needed_by(f"stages/{name}.py") - tracked_by(f"stages/{name}.py") for name in STAGES))
    bare = {path for path in left_out if path.endswith("/__init__.py") and path.count("/") >= 2}
    named = {
        "ser/params",
        "ser/__init__.py",
        "stages/__init__.py",
        "stages/changes.py",
        "stages/command.py",
        "stages/descent.py",
        "stages/doctor.py",
        "stages/ending.py",
        "stages/lock.py",
        "stages/paths.py",
        "stages/recordings.py",
        "benchmarks/__init__.py",
    }
    assert {path for path in left_out - bare - named if not path.startswith("ser/runtime")} == set()
    for path in bare | {"benchmarks/__init__.py"}:
        assert all(isinstance(node, ast.Expr) for node in ast.parse((ROOT / path).read_text()).body), path
    head = (ROOT / "dvc.yaml").read_text().split("stages:")[0]
    assert all(
        words in head
        for words in (
            "ser/params",
            "ser/runtime",
            "stages/command.py",
            "stages/paths.py",
            "stages/__init__.py",
            "ser/__init__.py",
            "bare __init__.py",
        )
    )


def test_params_yaml_holds_every_key():
    """DVC sees the values of params.yaml and not the schema's defaults: a default that is not written there could change unseen."""
    written = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    assert set(keys(written)) == set(keys(params.load(ROOT / "params.yaml").model_dump()))


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_says_what_it_does_within_the_width_of_the_list(name):
    assert 20 < len(STAGES[name]["desc"]) <= 70  # `dvc stage list` cuts at 80 columns


def test_artifacts_are_the_bundles_of_published_corpora():
    corpora = params.load(ROOT / "params.yaml").corpora
    published = {name for name, corpus in corpora.items() if corpus.source.kind not in ("folder", "joint")}
    assert {name: one["path"] for name, one in PIPELINE["artifacts"].items()} == {name: f"exports/{name}" for name in published}


def test_every_stage_script_is_a_stage():
    others = {
        "__init__",
        "bundle",
        "changes",
        "command",
        "compare",
        "descent",
        "doctor",
        "encoder",
        "ending",
        "lock",
        "paths",
        "preset",
        "recordings",
        "remote",
        "search",
        "show",
        "table",
        "verify",
        "differing",
    }
    scripts = {path.stem for path in (ROOT / "stages").glob("*.py")} - others
    assert scripts == set(STAGES)


def test_no_stage_needs_the_benchmarks():
    assert not [script for name in STAGES for script in needed_by(f"stages/{name}.py") if script.startswith("benchmarks")]


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
    assert set(STAGES["train"]) == {"desc", "matrix", "cmd", "deps", "params", "outs"}
    assert all(isinstance(out, str) for out in STAGES["train"]["outs"])
