"""A new metric is one entry: a toy one, added at run time, appears everywhere that today's metrics do."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from ser.evaluation import metrics
from ser.evaluation.comparison import compare, markdown
from ser.evaluation.gates import GateError, check_gates
from ser.evaluation.predictions import out_of_fold
from ser.evaluation.result import Result
from ser.evaluation.scoring import evaluate
from ser.params.evaluate import Gate
from ser.report import page
from ser.runtime.text import number
from tests import predicted


def kappa(counts: np.ndarray) -> np.ndarray:
    """Cohen's kappa, (p − e) / (1 − e) with the shares of agreement p and of agreement by chance e, in [−1, 1]; NaN where e = 1."""
    counts = np.asarray(counts, dtype=float)
    shares = counts / counts.sum((-2, -1), keepdims=True)
    chance = (shares.sum(-1) * shares.sum(-2)).sum(-1)
    agreement = np.diagonal(shares, axis1=-2, axis2=-1).sum(-1)
    return np.where(chance < 1, (agreement - chance) / np.where(chance < 1, 1 - chance, 1), np.nan)


def error(counts: np.ndarray) -> np.ndarray:
    """Share of clips that are wrong, 1 − WA, in [0, 1]."""
    return 1 - metrics.wa(counts)


TOYS = (
    metrics.Metric("kappa", "kappa", kappa, "Agreement beyond chance.", low=-1.0, high=1.0),
    metrics.Metric("error", "error", error, "Share of clips that are wrong.", better="lower"),
)


@pytest.fixture(autouse=True)
def _added(monkeypatch):
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, *TOYS))


@pytest.fixture
def table():
    return predicted.clips()


@pytest.fixture
def evaluation(table):
    return evaluate(predicted.predictions(table, seeds=(0, 1)), table, predicted.FOLDS, predicted.settings(), predicted.RATE)


def result(evaluation) -> Result:
    return Result.of(evaluation.measured, {"robustness": None, "normalise": "corpus", "fast": False})


def test_it_is_in_the_metrics_file_with_intervals(evaluation):
    values = json.loads(result(evaluation).text())
    assert list(values)[:8] == ["wa", "ua", "ua_low", "ua_high", "macro_f1", "kappa", "error", "n"]
    test = evaluation.test
    each = [cohen_kappa_score(test.actual[test.seed == seed], test.predicted[test.seed == seed]) for seed in (0, 1)]
    assert values["kappa"] == pytest.approx(np.mean(each), abs=5e-5)
    assert [one["kappa"] for one in values["seeds"]["each"]] == pytest.approx(each, abs=5e-5)
    assert list(values["ci"]) == ["wa", "ua", "macro_f1", "kappa", "error", "confidence", "speakers", "resamples"]
    low, high = values["ci"]["kappa"]
    assert low < values["kappa"] < high
    assert values["ci"]["error"] == pytest.approx([1 - values["ci"]["wa"][1], 1 - values["ci"]["wa"][0]], abs=1e-4)
    for section in (values["folds"]["mean"], values["folds"]["sd"], values["folds"]["each"][0], values["seeds"]["sd"]):
        assert "kappa" in section
    for section in (values["seeds"]["ensemble"], values["knowing_speakers"], values["knowing_speakers"]["ensemble"]):
        assert {"kappa", "error"} <= set(section)
        assert {"kappa", "error"} <= set(section["ci"])


def test_it_comes_back_from_the_file(evaluation):
    written = result(evaluation)
    assert Result.model_validate_json(written.text()) == written


def test_it_is_compared(table):
    a, b = predicted.predictions(table, skill=1.0), predicted.predictions(table, skill=2.0, seed=1)
    comparison = compare(a, b, table, predicted.settings())
    each = [out_of_fold(run, table) for run in (a, b)]
    scores = [cohen_kappa_score(test.actual, test.predicted) for test in each]
    assert comparison.differences["kappa"].difference == pytest.approx(scores[1] - scores[0])
    assert list(comparison.plain())[6:11] == ["ua", "wa", "macro_f1", "kappa", "error"]
    text = markdown(comparison, "made", "a", "b")
    assert re.search(rf"\| kappa +\| {number(scores[0])} +\| {number(scores[1])} +\| \+", text)
    assert re.search(r"\| error % \(lower is better\) +\| \d+\.\d +\| \d+\.\d +\| -", text)


def test_it_is_on_the_page(evaluation):
    html = page.render([page.Corpus("made", result(evaluation), {})], [], "")
    limits = evaluation.measured.ci.limits["kappa"]
    assert "<th>kappa</th>" in html
    assert "<th>error % (lower is better)</th>" in html
    assert "<dt>kappa</dt><dd>Agreement beyond chance.</dd>" in html
    assert "<dt>error</dt><dd>Share of clips that are wrong. Lower is better.</dd>" in html
    assert f'<div class="tile"><b>{number(evaluation.measured.scores["kappa"])}</b>' in html
    assert f"kappa, {number(limits[0])}–{number(limits[1])}</span>" in html


def test_gates_work_on_it(evaluation):
    measured = evaluation.measured
    check_gates(measured, [Gate(metric="kappa", at_least=0.1), Gate(metric="ci.error.1", at_most=0.9)], "made")
    with pytest.raises(GateError, match=r"kappa = 0\.[0-9]+ is below at_least 0.99"):
        check_gates(measured, [Gate(metric="kappa", at_least=0.99)], "made")
    with pytest.raises(GateError, match=r"ci\.error\.0 = 0\.[0-9]+ is above at_most 0.001\n.*kappa 0\."):
        check_gates(measured, [Gate(metric="ci.error.0", at_most=0.001)], "made")


def test_a_score_that_is_not_defined_is_null_and_a_dash():
    """One emotion, always right: agreement by chance is complete, and kappa is not defined."""
    table = predicted.clips()
    table["emotion"] = "happy"
    made = predicted.predictions(table, skill=20)
    measured = evaluate(made, table, predicted.FOLDS, predicted.settings(), predicted.RATE).measured
    assert (measured.scores["ua"], measured.scores["kappa"], measured.ci.limits["kappa"]) == (1.0, None, None)
    whole = Result.of(measured, {"normalise": "corpus", "fast": False})
    assert "<b>–</b><span>kappa</span>" in page.render([page.Corpus("made", whole, {})], [], "")
    comparison = compare(made, made, table, predicted.settings())
    assert comparison.differences["kappa"].difference is None
    with pytest.raises(GateError, match=r"kappa: is None, not a number"):
        check_gates(measured, [Gate(metric="kappa", at_least=0.1)], "made")


def test_a_name_that_is_a_key_already_is_refused(monkeypatch, evaluation):
    taken = metrics.Metric("protocol", "protocol", kappa, "No.")
    values = result(evaluation).plain()
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, taken))
    with pytest.raises(ValueError, match="'protocol' is already a key"):
        Result.model_validate(values)


@pytest.mark.parametrize(("changes", "says"), [({"name": "Cohen's kappa"}, "name must"), ({"high": -1.0}, "low must be less")])
def test_an_entry_is_checked(changes, says):
    with pytest.raises(ValueError, match=says):
        metrics.Metric(**{"name": "kappa", "label": "kappa", "score": kappa, "meaning": "x", **changes})
