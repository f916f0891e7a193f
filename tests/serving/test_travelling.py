"""The bundle in the package: it is what the code reads today, small, licensed, and answers as it did when it was made."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from ser.params import load, parse
from ser.serving import bundle as bundles
from ser.serving import references
from ser.serving.predict import Predictor
from stages import bundle
from stages.bundle import LICENCES, MOST, put
from stages.preset import checked, merged
from tests.serving import small

RAVDESS = references.PACKAGED / "ravdess"


def test_it_is_of_this_version_and_of_todays_parameters() -> None:
    """A change of params.yaml or of the format that would change the answers makes it stale: export it again (docs/predict.md)."""
    from ruamel.yaml import YAML

    facts = bundles.read(RAVDESS)
    assert facts.version == bundles.VERSION
    values = YAML(typ="safe", pure=True).load(small.ROOT / "params.yaml")
    params = parse(merged(values, checked("linear_robust", small.ROOT / "docs/presets", small.ROOT / "params.yaml")))
    assert facts.preprocess == params.preprocess
    assert facts.features == params.features
    assert facts.classes == load(small.ROOT / "params.yaml").corpora["ravdess"].labels.classes
    assert facts.model_dump(mode="json").keys() == bundles.Bundle.model_json_schema()["properties"].keys()


def test_it_is_small_refitted_scored_and_close_to_training() -> None:
    facts = bundles.read(RAVDESS)
    assert sum(path.stat().st_size for path in RAVDESS.iterdir()) <= MOST
    assert facts.made == "refit"
    assert facts.encoder is not None
    assert facts.encoder.parity is not None
    assert facts.encoder.parity.probabilities <= 1e-3
    assert facts.score is not None
    assert facts.score.ua > 0.7
    assert facts.speaker_independent
    assert facts.typical is not None


def test_its_licence_and_card_lie_beside_it() -> None:
    licence = (RAVDESS / bundles.LICENCE).read_text(encoding="utf-8")
    assert licence == (small.ROOT / LICENCES / "ravdess.txt").read_text(encoding="utf-8")
    assert "Attribution-NonCommercial-ShareAlike 4.0 International" in licence
    assert "Copyright (c) 2022 OpenAI" in licence
    card = (RAVDESS / bundles.CARD).read_text(encoding="utf-8")
    assert "The score is that of the regressions of cross-validation" in card
    assert "CC BY-NC-SA 4.0" in card


def test_it_judges_sound() -> None:
    (found,) = Predictor(RAVDESS).recordings([("x", lambda: small.wav(small.sound()))])
    assert sum(found.probabilities.values()) == pytest.approx(1)


def test_a_place_that_cannot_be_written_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports/ravdess").symlink_to(RAVDESS)
    (tmp_path / "docs").symlink_to(small.ROOT / "docs")
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bundle, "PACKAGED", tmp_path / "file/bundles")
    monkeypatch.setattr(sys, "argv", ["bundle", "ravdess"])
    with pytest.raises(SystemExit, match=r"error: .*file.*: Not a directory \(a file lies where a folder is needed\)"):
        bundle.main()


def test_a_bundle_of_folds_does_not_travel(tmp_path: Path) -> None:
    from ser import SerError

    with pytest.raises(SerError, match="is not an evaluated model of all clips"):
        put(small.write(tmp_path / "made"), tmp_path / "package", small.ROOT / LICENCES / "ravdess.txt")
    assert put(RAVDESS, tmp_path / "package", small.ROOT / LICENCES / "ravdess.txt") <= MOST
    assert bundles.read(tmp_path / "package" / "ravdess") == bundles.read(RAVDESS)
    made = tmp_path / "ravdess"
    for name, message in (
        (bundles.MODEL, "does not belong to its bundle.json"),
        (bundles.ENCODER, "does not belong to its bundle.json"),
        (bundles.FACTS, "cannot be used"),
    ):
        shutil.copytree(RAVDESS, made)
        (made / name).write_bytes((made / name).read_bytes()[:1000])
        with pytest.raises(SerError, match=message):
            put(made, tmp_path / "package", small.ROOT / LICENCES / "ravdess.txt")
        (made / name).unlink()
        with pytest.raises(SerError, match="not found"):
            put(made, tmp_path / "package", small.ROOT / LICENCES / "ravdess.txt")
        shutil.rmtree(made)
    assert bundles.read(tmp_path / "package" / "ravdess") == bundles.read(RAVDESS)  # the good one stays
    with pytest.raises(SerError, match="not found: a bundle in the package needs the licence"):
        put(RAVDESS, tmp_path / "package", tmp_path / "none.txt")
