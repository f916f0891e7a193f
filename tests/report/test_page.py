"""The report: what must stand in it, and that a browser shows it without network, errors or overflow."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser.evaluation.degradation import Condition
from ser.evaluation.encoder_section import EncoderUsed
from ser.evaluation.examples import Example
from ser.evaluation.result import Result
from ser.evaluation.robustness import scores
from ser.evaluation.scoring import evaluate
from ser.params import load
from ser.report import layers, page, plots, svg
from ser.report.page import Corpus
from ser.runtime.provenance import Provenance
from ser.runtime.text import percent
from stages import report as stage
from tests import browser, predicted
from tests.pipeline import ROOT

PARAMETERS = "model:\n  fusion: concat # <b>&\n"


NOTICE = "synthetic: not a result about human emotion"


def corpus(
    name: str, classes: tuple[str, ...] = predicted.CLASSES, seeds: tuple[int, ...] = (0, 1), notice: str | None = None, **changes
) -> Corpus:
    table = predicted.clips(takes=40, classes=classes)
    made = predicted.predictions(table, seeds=seeds, classes=classes)
    folds = {**predicted.FOLDS, "speaker_independent": changes.pop("speaker_independent", True)}
    found = evaluate(made, table, folds, predicted.settings(), predicted.RATE)
    study = scores({Condition("clean"): made, Condition("noise", 0.0): made, Condition("telephone"): made}, table, predicted.settings())
    part = {"clips": 8, "source_seconds": 60.0, "removed": 0.2, "no_speech": 1}
    facts = {
        "robustness": study,
        "edition": "official",
        "label_edition": "corrected",
        "files_found": 330,
        "kept": 320,
        "rejected": {"too_short": 10},
        "vad": {
            "method": "webrtc",
            "keep": "trim",
            "all": part,
            "by_emotion": dict.fromkeys(classes, part),
            "by_channel": {"speech": part},
        },
        "normalise": "corpus",
        "fast": False,
        "parameters": ['model.fusion = "concat"'],
    }
    epochs = pd.DataFrame(
        {"epoch": [1, 2], "train_loss": [1.5, 1.0], "valid_loss": [1.4, 1.1], "valid_ua": [0.4, 0.6], "valid_ua_fold1": [0.4, 0.6]}
    )
    rejected = pd.DataFrame({"path": ["a/short.wav"], "reason": ["too_short"], "detail": [""]})
    facts |= {"notice": notice} if notice else {}
    facts |= {"encoder": changes.pop("encoder")} if "encoder" in changes else {}
    return Corpus(name, Result.of(found.measured, facts), {**found.plots, "loss": epochs}, rejected=rejected, **changes)


def example(clip: str = "01/<b>$x$.wav", actual: str = "sad") -> Example:
    random = np.random.default_rng(0)
    about = {"clip": clip, "speaker": "01", "fold": 1, "actual": actual, "predicted": "sad", "probabilities": {"sad": 0.7, "happy": 0.3}}
    audio = random.integers(-3000, 3000, 16000).astype(np.int16)
    attention = {"cnn": np.full(63, 1 / 63), "transformer": np.full(63, 1 / 63)}
    return Example(about, 16000, audio, random.normal(-40, 10, (63, 64)), attention)


@pytest.fixture(scope="module")
def html() -> str:
    demo = corpus("demo", examples=[example(), example("02/y.wav", actual="happy")], audio=True, notice=NOTICE)
    return page.render([demo, corpus("ravdess", committed=True, speaker_independent=False)], ["shemo", "emodb"], PARAMETERS)


def test_what_must_stand_in_it(html):
    for text in (
        "synthetic: not a result about human emotion",
        "Synthetic: not a result about human emotion.",
        "committed result",
        "speakers shared between training and test",
        "speaker-independent",
        "protocol speaker",
        "not run",
        "Whisper-L-v3, frozen",
        "parallel CNN + Transformer (Zenkov)",
        "reports/made.json",
        "dvc repro evaluate@demo",
        "datasets=[demo,ravdess]",
        "too_short",
        "a/short.wav",
        "330 recordings found, 320 kept",
        "data:audio/flac;base64,",
        "labels: corrected",
    ):
        assert text in html, text


def test_scores_and_intervals_are_the_metrics(html):
    values = corpus("ravdess", speaker_independent=False).result
    for name, score in values.scores.items():
        low, high = values.ci.limits[name]
        assert percent(score) in html
        assert f"{percent(low)}–{percent(high)}" in html


def test_ensembles_carry_their_intervals(html):
    values = corpus("demo").result
    for together, text in (
        (values.seeds.ensemble, "their ensemble {}, {}"),
        (values.knowing_speakers.ensemble, "their ensemble {} % ({})"),
    ):
        assert text.format(percent(together.scores["ua"]), page.interval(together.ci.limits["ua"])) in html


def encoder(*networks: dict) -> dict:
    """Section ``encoder`` of a metrics file."""
    return {
        "name": "whisper-tiny.en",
        "layers": [1, 2, 3],
        "sha256": "ab" * 32,
        "licence": "MIT; commercial use allowed",
        "networks": list(networks),
    }


def test_what_was_read_of_an_encoder():
    """Two seeds of fold 1 read different layers; fold 2 has one seed; the branch has two depths."""
    used = EncoderUsed.model_validate(
        encoder(
            {"fold": 1, "seed": 0, "layers": [2, 3], "layer_weights": [[0.2, 0.3, 0.5], [0.6, 0.4, 0.0]]},
            {"fold": 1, "seed": 1, "layers": [3], "layer_weights": [[0.4, 0.3, 0.3], [0.6, 0.4, 0.0]]},
            {"fold": 2, "seed": 0, "layers": [1]},
        )
    )
    assert {name: row.tolist() for name, row in layers.chosen(used).items()} == {"fold 1": [0, 0.5, 1], "fold 2": [1, 0, 0]}
    weighed = layers.weighed(used)
    assert list(weighed) == ["fold 1, depth 1", "fold 1, depth 2"]
    np.testing.assert_allclose(list(weighed.values()), [[0.3, 0.3, 0.4], [0.6, 0.4, 0.0]])
    assert layers.chosen(EncoderUsed.model_validate(encoder({"fold": 1, "seed": 0, "layer_weights": [[1, 0, 0]]}))) == {}
    assert layers.weighed(EncoderUsed.model_validate(encoder({"fold": 1, "seed": 0, "layers": [1]}))) == {}


@pytest.mark.parametrize("reads", ["layers", "layer_weights"])
def test_the_page_names_the_encoder_its_licence_and_its_layers(reads):
    values = {"layers": [2], "layer_weights": [[0.21, 0.62, 0.17]]}[reads]
    shown = page.render([corpus("made", encoder=encoder({"fold": 1, "seed": 0, reads: values}))], [], PARAMETERS)
    assert "whisper-tiny.en, hidden states 1, 2, 3" in shown
    assert "Licence: MIT; commercial use allowed." in shown
    assert ("Layers that the regression reads" in shown) == (reads == "layers")
    assert ("Softmax weights" in shown) == (reads == "layer_weights")
    assert ("62%" in shown) == (reads == "layer_weights")


def test_text_of_others_is_escaped(html):
    assert "01/<b>" not in html
    assert "01/&lt;b&gt;$x$.wav" in html
    assert "fusion: concat # &lt;b&gt;&amp;" in html


def test_nothing_is_loaded_from_elsewhere(html):
    assert "<script" not in html
    targets = re.findall(r"""(?:src|href)=["']([^"']*)""", html)
    assert targets
    assert all(target.startswith(("#", "data:")) for target in targets)
    assert not re.search(r"url\((?!#)", html)


def test_sound_only_where_the_licence_allows():
    quiet = page.render([corpus("ravdess", examples=[example()], audio=False)], [], PARAMETERS)
    assert "Where the network looked" in quiet
    assert "<audio" not in quiet


@pytest.mark.parametrize(
    ("speaker_independent", "says"),
    [(True, "never heard the speaker"), (False, "did not train on the clip, but may have heard the speaker")],
)
def test_what_the_network_knew_of_the_clips_that_are_shown(speaker_independent, says):
    shown = corpus("demo", examples=[example()], speaker_independent=speaker_independent)
    found = page.render([shown], [], PARAMETERS)
    assert says in found
    assert ("never heard" in found) == speaker_independent


def test_same_results_same_bytes(html):
    demo = corpus("demo", examples=[example(), example("02/y.wav", actual="happy")], audio=True, notice=NOTICE)
    again = page.render([demo, corpus("ravdess", committed=True, speaker_independent=False)], ["shemo", "emodb"], PARAMETERS)
    assert again == html


def test_another_commit_or_machine_gives_the_same_page(tmp_path, monkeypatch):
    """The page's hash is in dvc.lock, which a rerun on another machine must leave as it is."""
    shutil.copytree(ROOT / "metrics", tmp_path / "metrics")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    pages = []
    for revision, cpu in (("abc123", "Some CPU"), ("def456-dirty", "Another CPU")):
        here = Provenance(revision=revision, cpu=cpu, cores=len(cpu), gpu=[], python="3.11.7", libraries={"numpy": revision})
        monkeypatch.setattr(stage, "provenance", lambda here=here: here)
        stage.main(load(), argparse.Namespace(scores=False, audio=False))
        pages.append(Path("reports/index.html").read_bytes())
        assert json.loads(Path("reports/made.json").read_text())["revision"] == revision
    assert pages[0] == pages[1]


def test_groups_name_their_clips(html):
    for one in corpus("demo").result.slices["gender"].groups:
        assert f"{one.group} ({one.n})" in html


def test_ids_are_unique(html):
    named = re.findall(r'<(?:section|article|div|g|svg)[^>]* id="([^"]*)"', html)
    assert len(named) == len(set(named))


def test_a_result_with_little_in_it():
    """One speaker, one fold, one seed, no robustness, no examples, no VAD: as an old or foreign metrics file may be."""
    table = predicted.clips(speakers=1, takes=8)
    found = evaluate(predicted.predictions(table, folds=1), table, predicted.FOLDS, predicted.settings(), predicted.RATE)
    values = Result.of(found.measured, {"normalise": "corpus", "fast": False, "robustness": None})
    bare = page.render([Corpus("folder", values, {})], [], PARAMETERS)
    assert "one speaker, no interval" in bare


def test_no_result_at_all():
    assert "No corpus has been evaluated yet" in page.render([], ["demo"], PARAMETERS)


@pytest.mark.parametrize(
    ("limits", "text"), [((0.5, 0.6), "50.0–60.0"), ((-0.1, 0.2), "−10.0 to 20.0"), ((0.0, 0.6885), "0.0–68.9"), (None, "")]
)
def test_interval(limits, text):
    assert page.interval(limits) == text


def test_published_figures_carry_their_protocol():
    table = pd.read_csv(page.PUBLISHED_RESULTS)
    assert set(table["speaker_independent"]) == {"yes", "no"}
    assert table[["corpus", "system", "task", "protocol", "source", "ua"]].notna().all().all()
    assert table["ua"].between(0, 100).all()
    for figure in ((80.4, 77.9), (88.4, 87.6), (75.9, 75.3), (71.5, 61.1), (92.4, 91.3)):
        assert ((table["wa"] == figure[0]) & (table["ua"] == figure[1])).any()


def test_pictures_take_the_colours_of_the_page():
    drawn = plots.confusion([[3, 1], [0, 4]], [[0.75, 0.25], [0.0, 1.0]], ["a & b", "c"])
    assert drawn.startswith("<svg role=")
    assert "var(--accent)" in drawn
    assert not any(placeholder in drawn for placeholder in svg.COLOURS)
    assert "a &amp; b" in drawn
    assert "font-family" not in drawn


@pytest.fixture
def written(html: str, tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text(html, encoding="utf-8")
    return tmp_path / "index.html"


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, False), (390, True)])
def test_in_a_browser(written, tmp_path, width, dark):
    found = browser.opened(written, tmp_path, width, dark)
    assert found["errors"] == []
    assert found["console"] == []
    assert found["requests"] == []
    assert set(found["asked"]) <= {"/probe.html", "/index.html"}
    assert found["width"] == width
    assert found["scroll"] <= width
    assert all(loaded for _, loaded in found["images"])
    assert len(found["drawn"]) > 20
    assert min(found["drawn"]) > 100
    assert len(found["tables"]) >= 8
    assert min(found["tables"]) >= 2
    assert (found["background"] == "rgb(19, 20, 23)") == dark
    assert "Overview" in found["text"]


def test_the_browser_test_sees_faults(tmp_path):
    """A html with an error, an image of elsewhere and too wide a table is caught in each of them."""
    (tmp_path / "bad.html").write_text(
        '<!DOCTYPE html><body><script>nothing.at.all</script><img src="http://example.org/x.png"><div style="width:900px">x</div>'
    )
    found = browser.opened(tmp_path / "bad.html", tmp_path, 390)
    assert any("nothing is not defined" in line for line in found["console"])
    assert found["requests"] == ["http://example.org/x.png"]
    assert found["images"][0][1] is False
    assert found["scroll"] > 390
