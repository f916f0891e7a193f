"""The schema of params.yaml: what is refused, and in which words."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, get_args

import pytest
from dvc.utils.serialize import parse_yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from ruamel.yaml import YAML

from ser.params import Params, ParamsError, load, parse
from ser.search.space import put

ROOT = Path(__file__).resolve().parents[2]


def values() -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(ROOT / "params.yaml")


def changed(key: str, value: Any) -> dict[str, Any]:
    whole = section = values()
    *path, last = key.split(".")
    for name in path:
        section = section[name]
    section[last] = value
    return whole


def test_the_shipped_file_is_good_and_ends_with_the_switch():
    assert load(ROOT / "params.yaml").datasets == ["demo"]
    assert list(values())[-1] == "datasets"


@pytest.mark.parametrize(("faults", "more"), [(1, None), (15, None), (16, "1 more"), (10_000, "9,985 more")])
def test_many_faults_are_counted_and_not_all_said(faults, more):
    with pytest.raises(ParamsError) as refused:
        parse(changed("train.seeds", ["x"] * faults))
    said = str(refused.value)
    assert len(said) < 4_000
    assert said.count("train.seeds") == min(faults, 15)
    assert ("more" in said) == (more is not None)
    assert more is None or said.endswith(f"  … and {more}")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("train.lr", "fast", ["train.lr", "'fast' (text)", "a number", "> 0", "≤ 10", "Peak learning rate"]),
        ("train.lr", "1e-3", ["train.lr", "'1e-3' (text)"]),
        ("train.lr", 0, ["train.lr", "found 0", "> 0"]),
        ("train.lr", True, ["train.lr", "true/false"]),
        ("train.lr", None, ["train.lr", "null"]),
        ("train.epochs", 2.5, ["train.epochs", "found 2.5", "a whole number"]),
        ("train.momentumm", 0.9, ["train.momentumm", "unknown key", "did you mean 'momentum'"]),
        ("trian", {}, ["trian", "unknown key", "'train'"]),
        ("constrained-", None, ["constrained-: unknown key", "train, evaluate"]),
        ("train.int", 1, ["train.int: unknown key", "seeds, epochs"]),
        ("corpora.demo.source.demo", 1, ["corpora.demo.source.demo: unknown key", "sentences"]),
        ("model.fusion", "magic", ["model.fusion", "'magic'", "parallel_coattention"]),
        ("model.branches", [], ["model.branches", "at least 1 entries"]),
        ("model.branches", ["log_mel_cnn", "lstm"], ["model.branches", "lstm"]),
        ("features.frames.win_length", 4096, ["features.frames", "win_length 4096 must be at most n_fft 512"]),
        ("features.encoder", "whisper-base", ["features.encoder", "'whisper-base'"]),
        ("features.encoder", {"layers": [1]}, ["features.encoder.name: missing"]),
        ("features.encoder", {"name": "whisper-base", "layers": [2, 1]}, ["features.encoder", "layers [2, 1] must ascend"]),
        ("features.encoder", {"name": "whisper-base", "layers": [1, 1]}, ["features.encoder", "each named once"]),
        ("features.encoder", {"name": "whisper-base", "layers": [1.5]}, ["features.encoder.layers", "1.5"]),
        ("features.encoder", {"name": "whisper-base", "layers": [1], "layer": 1}, ["features.encoder.layer: unknown key", "'layers'"]),
        ("features.encoder", {"name": "x", "layers": [1], "silence_seconds": 11.0}, ["features.encoder.silence_seconds", "≤ 10"]),
        ("preprocess.sample_rate", 44100, ["preprocess.sample_rate", "44100", "16000"]),
        ("preprocess.vad.method", "yes", ["preprocess.vad.method", "'yes'", "webrtc"]),
        ("split.train_on", "ravdess", ["split.train_on", "a list of text"]),
        ("corpora.demo.split", {"folds": 1}, ["corpora.demo.split.folds", "found 1", "≥ 2"]),
        ("corpora.demo.split", {"fold": 3}, ["corpora.demo.split.fold: unknown key", "did you mean 'folds'"]),
        ("corpora.demo.split", {"use_folds": [1, 1]}, ["use_folds", "twice"]),
        ("corpora.demo.split", "speaker", ["corpora.demo.split", "a section or null"]),
        ("corpora.ravdess.source.record", "x", ["corpora.ravdess.source.record", "whole number"]),
        ("corpora.ravdess.source.kind", "torrent", ["corpora.ravdess.source.kind", "torrent"]),
        ("corpora.shemo.source.archives", [], ["corpora.shemo.source.archives"]),
        ("corpora.demo.source.speakers", 1, ["corpora.demo.source.speakers", "≥ 2"]),
        ("corpora.joint.source.members", ["demo", "nope"], ["corpora.joint.source.members", "nope"]),
        ("corpora.joint.source.members", ["demo", "ravdess", "demo"], ["corpora.joint.source.members", "'demo' is named twice"]),
        ("datasets", "demo", ["datasets", "a list of text"]),
        ("datasets", [], ["datasets"]),
        ("datasets", ["demo", "demo"], ["datasets", "twice"]),
        ("datasets", ["tess"], ["datasets", "'tess' is not a corpus", "ravdess"]),
        ("runtime.scheduler", "here", ["runtime.scheduler", "matching"]),
        ("runtime.workers", "many", ["runtime.workers", "whole number", "auto"]),
        ("train.augment.noise_snr_db", [5.0], ["train.augment.noise_snr_db"]),
        ("train.seeds", [0, 1, 0], ["train.seeds", "twice"]),
        ("train.seeds", [-1], ["train.seeds", "≥ 0"]),
        ("train.clip_norm", float("inf"), ["train.clip_norm", "finite"]),
        ("evaluate.robustness.snr_db", [float("nan")], ["evaluate.robustness.snr_db", "finite"]),
        ("evaluate.gates", [{"metric": "ua", "at_least": float("nan")}], ["evaluate.gates", "finite"]),
        ("corpora.emodb.source.archives", [{"name": "a.zip", "url": None, "checksum": "md5:0"}], ["archives.0.checksum", "'md5:0'"]),
        ("corpora.shemo.source.kaggle", "../x", ["corpora.shemo.source.kaggle", "'../x'"]),
        ("corpora.shemo.labels.edition", "", ["corpora.shemo.labels.edition"]),
        ("corpora.demo.labels.classes", ["neutral", "sad", "neutral"], ["corpora.demo.labels", "neutral", "twice"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_what_is_allowed(key, value, says):
    with pytest.raises(ParamsError) as error:
        parse(changed(key, value))
    for text in says:
        assert text in str(error.value)
    assert "pydantic" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"features.functionals": "is09"}, ["features.functionals", "'is09'", "egemaps | compare or null"]),
        ({"features.functionals": "egemaps"}, ["features.functionals", "model.kind network", "set model.kind to svm"]),
        ({"features.functionals": "compare", "features.normalise": "clip", "model.kind": "svm"}, ["features", "clip", "corpus or speaker"]),
        ({"features.functionals": "compare", "features.normalise": "speaker", "features.copies": None, "model.kind": "svm"}, []),
    ],
)
def test_functionals_are_for_the_svm_and_not_normalised_by_clip(changes, says):
    whole = values()
    for key, value in changes.items():
        section, last = key.split(".")
        whole[section][last] = value
    if not says:
        assert parse(whole).features.functionals == "compare"
        return
    with pytest.raises(ParamsError) as error:
        parse(whole)
    for text in says:
        assert text in str(error.value)


@pytest.mark.parametrize("apart", [{"features.mfcc.n_mels": 40}, {"features.deltas": True}], ids=str)
@pytest.mark.parametrize(
    ("changes", "fine"),
    [
        ({"train.augment.band_shift": 2}, False),
        ({"train.augment.band_shift": 0, "train.augment.noise_snr_db": [5.0, 20.0]}, False),
        ({"train.augment.band_shift": 0, "train.augment.noise_snr_db": [5.0, 20.0], "train.augment.noise_domain": "waveform"}, True),
        ({"train.augment.band_shift": 0}, True),
        ({"train.augment.band_shift": 2, "model.kind": "svm"}, True),
    ],
    ids=str,
)
def test_augmented_bands_need_mfcc_of_the_same_bands(apart, changes, fine):
    """Else the two views would show different recordings; an SVM sees none altered."""
    whole = values()
    for key, value in {"features.copies": None, **apart, **changes}.items():
        *path, last = key.split(".")
        section = whole
        for name in path:
            section = section[name]
        section[last] = value
    if fine:
        parse(whole)
        return
    with pytest.raises(ParamsError, match=r"train\.augment.*features\.mfcc\.n_mels.*waveform"):
        parse(whole)


def test_a_missing_key_is_named():
    whole = values()
    del whole["train"]["seeds"]
    with pytest.raises(ParamsError, match=r"train\.seeds: missing"):
        parse(whole)


def test_every_key_is_documented():
    sections, undocumented = [Params], []
    for section in sections:  # grows as it goes
        for name, field in section.model_fields.items():
            inner = [kind for kind in _kinds(field.annotation) if kind not in sections]
            sections += inner
            if name != "kind" and not field.description and not _kinds(field.annotation):
                undocumented.append(f"{section.__name__}.{name}")
    assert len(sections) > 20
    assert not undocumented


def _kinds(annotation: Any) -> list[type[BaseModel]]:
    """The sections in a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [kind for part in get_args(annotation) for kind in _kinds(part)]


def test_a_corpus_without_a_split_is_told_before_dvc_misses_the_key():
    whole = values()
    del whole["corpora"]["emodb"]["split"]
    with pytest.raises(ParamsError, match=r"corpora\.emodb\.split: missing; write `split:`"):
        parse(whole)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (None, {}),
        ({}, {}),
        ({"folds": None, "use_folds": None}, {}),
        ({"folds": 3}, {"folds": 3}),
        ({"protocol": "random", "seed": 0, "use_folds": []}, {"protocol": "random", "seed": 0, "use_folds": []}),
    ],
    ids=str,
)
def test_a_split_of_its_own_concerns_its_corpus_alone(own, expected):
    whole = changed("split.seed", 7) | {"datasets": ["demo", "folder"]}
    whole["split"]["use_folds"] = [1, 2]
    whole["corpora"]["folder"]["split"] = own
    found = parse(whole)
    assert found.split_of("demo") == found.split
    assert found.split_of("folder").model_dump() == found.split.model_dump() | expected
    assert parse(found.model_dump()) == found


def test_all_faults_are_said_at_once():
    whole = changed("train.lr", "fast")
    whole["split"]["folds"] = 0
    with pytest.raises(ParamsError) as error:
        parse(whole)
    assert "train.lr" in str(error.value)
    assert "split.folds" in str(error.value)


@pytest.mark.parametrize(("text", "says"), [("a: [", "not valid YAML"), ("", "cannot be used"), ("- 1", "cannot be used")])
def test_files_that_are_none(tmp_path, text, says):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ParamsError, match=says):
        load(tmp_path / "params.yaml")


def test_a_missing_file_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParamsError, match="run from the root of the repository"):
        load("params.yaml")


@pytest.mark.parametrize("text", ["1e-3", "0.001", "1.0E-3", ".001"])
def test_numbers_mean_the_same_to_dvc_and_to_us(tmp_path, text):
    file = tmp_path / "params.yaml"
    file.write_text((ROOT / "params.yaml").read_text().replace("  lr: 0.002\n", f"  lr: {text}\n"))
    assert load(file).train.lr == parse_yaml(file.read_text(), "params.yaml")["train"]["lr"] == 0.001


@pytest.mark.parametrize("word", ["yes", "on", "012"])
def test_yaml_1_1_words_are_no_booleans_for_either(tmp_path, word):
    file = tmp_path / "params.yaml"
    file.write_text((ROOT / "params.yaml").read_text().replace("  compile: false\n", f"  compile: {word}\n"))
    assert parse_yaml(file.read_text(), "params.yaml")["train"]["compile"] is not True
    with pytest.raises(ParamsError, match=r"train\.compile"):
        load(file)


BAD_NAMES = [
    "",
    ".",
    "..",
    "../..",
    "/tmp/x",
    "a/b",
    "a\\b",
    "-x",
    "_x",
    ".x",
    "x;id",
    "x y",
    "$(id)",
    "`id`",
    "x'y",
    "a.b",
    "x.",
    "ä",
    "x\n",
    "x" * 65,
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_corpus_is_named_like_a_folder_and_like_nothing_else(name):
    """Its name is a part of paths, of DVC's keys, where a dot divides, and of shell commands."""
    whole = values()
    whole["corpora"][name] = whole["corpora"]["demo"]
    with pytest.raises(ParamsError) as error:
        parse(whole)
    assert f"corpora: {name!r} cannot be the name of a corpus" in str(error.value)
    whole["datasets"] = [name]
    with pytest.raises(ParamsError, match="corpora: "):
        parse(whole)


@pytest.mark.parametrize("name", ["x", "7", "my-corpus_2", "X" * 64])
def test_ordinary_names_of_corpora(name):
    whole = values()
    whole["corpora"][name] = whole["corpora"]["demo"]
    assert name in parse(whole).corpora


def test_two_corpora_whose_names_differ_in_case_only():
    whole = values()
    whole["corpora"]["Demo"] = whole["corpora"]["demo"]
    with pytest.raises(ParamsError, match="corpora: 'demo' and 'Demo' differ only in case"):
        parse(whole)


BAD_ARCHIVES = ["", ".", "..", ".hidden.zip", "a/b.zip", "a\\b.zip", "source.json", "Source.JSON", "x.zip.part", "x.PART", "x.lock", "x.",
                "x ", "-x.zip", "a\nb.zip", "a\0.zip", "x" * 300, "ä" * 150]  # fmt: skip


@pytest.mark.parametrize("name", BAD_ARCHIVES)
def test_an_archive_cannot_take_the_place_of_another_file(name):
    with pytest.raises(ParamsError, match=r"corpora\.emodb\.source\.archives\.0\.name: "):
        parse(changed("corpora.emodb.source.archives", [{"name": name, "url": None, "checksum": None}]))


@pytest.mark.parametrize("name", ["emodb_2.0.zip", "any name ü (1).tar.gz", "7.zip", "a.part.zip"])
def test_ordinary_names_of_archives(name):
    parse(changed("corpora.emodb.source.archives", [{"name": name, "url": None, "checksum": None}]))


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text()


@given(st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8))
def test_whatever_the_file_holds_the_error_is_ours(junk):
    for given_values in (junk, changed("train.lr", junk), changed("corpora.demo.source", junk), changed("datasets", junk)):
        with contextlib.suppress(ParamsError):  # any other exception fails the test
            parse(given_values)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.seeds", [2**32]),
        ("split.seed", 2**32),
        ("evaluate.seed", 2**32),
        ("corpora.demo.source.seed", 2**32),
        ("split.use_folds", [0]),
        ("split.use_folds", [1, 1]),
        ("corpora.ravdess.source.record", 10**30),
        ("evaluate.robustness.snr_db", [1e300]),
        ("evaluate.robustness.snr_db", [-1e300]),
        ("evaluate.robustness.snr_db", [0.0] * 100),
        ("evaluate.robustness.gain_db", [1e300]),
        ("evaluate.robustness.max_clips", 10**30),
        ("train.augment.noise_snr_db", [0.0, 1e300]),
        ("train.augment.noise_snr_db", [20.0, 10.0]),
        ("features.copies.snr_db", [20.0, 10.0]),
        ("train.clip_norm", 1e300),
        ("features.encoder", {"name": "whisper-base", "layers": [10**30]}),
        ("runtime.threads", 10**30),
        ("runtime.workers", 10**30),
        ("runtime.devices", 10**30),
    ],
)
def test_the_schema_has_the_bounds_that_the_code_has(key, value):
    with pytest.raises(ParamsError) as error:
        parse(changed(key, value))
    assert key in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["[" * 5000, "{a: " * 5000, "a: " + "9" * 10_000, "a: 2001-99-99", "a: !!int x", "a: !!float x", "a: !!timestamp x", "a: &b [*b]", "\0",
     "? [a]\n: b", "a: !!python/object:os.system x", "1: 2", "- a", "", "a: {<<: b}", "a: 0x", "a: !!binary x", "%YAML 9.9\n---\na: 1",
     "datasets:\n- &a0 [1,2,3,4,5,6,7,8,9]\n" + "".join(f"- &a{n} [{f'*a{n - 1}, ' * 9}]\n" for n in range(1, 12))],
    ids=lambda text: repr(text[:20]),
)  # fmt: skip
def test_a_file_that_is_no_parameters_is_one_message(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError) as error:
        load(path)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 10_000


def test_a_folder_in_place_of_the_file_is_one_message(tmp_path):
    (tmp_path / "params.yaml").mkdir()
    with pytest.raises(ParamsError, match=r"params\.yaml cannot be read: Is a directory"):
        load(tmp_path / "params.yaml")


ENCODER = {"name": "whisper-tiny.en", "layers": [1, 2, 3]}
HEARING = {"features.encoder": ENCODER, "model.branches": ["log_mel_cnn", "encoder"]}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model.kind": "linear"}, "features.encoder: null, and model.kind linear reads its hidden states"),
        ({"model.branches": ["encoder"]}, "features.encoder: null, and branch encoder of model.branches"),
        ({"train.warm_start": "linear"}, "add encoder to model.branches"),
        ({**HEARING, "model.branches": ["transformer", "encoder"]}, "a fusion joins the CNNs with either transformer or encoder"),
        ({**HEARING, "train.augment.speed": 0.1}, "stored hidden states cannot be moved"),
        ({**HEARING, "train.augment.shift_seconds": 0.1}, "stored hidden states cannot be moved"),
        ({**HEARING, "features.normalise": "clip"}, "choose corpus or speaker"),
        (
            {"features.encoder": ENCODER, "model.kind": "linear", "model.linear.layers": [2, 4]},
            r"must be among features.encoder.layers \[1, 2, 3\]",
        ),
        ({"model.linear.layers": [2, 1]}, "must ascend"),
        ({"model.linear.layers": "all"}, "model.linear.layers: found 'all'"),
        ({"model.linear.C": 0.0}, "model.linear.C: found 0.0"),
        ({"model.encoder.layers": 1, "model.encoder.dim": 6}, "multiple of encoder.heads 4"),
    ],
)
def test_hidden_states_that_cannot_be_read_are_refused(changes, says):
    with pytest.raises(ParamsError, match=says):
        parse(put(values(), changes))


def test_hidden_states_that_can_be_read_are_accepted():
    parse(put(values(), {**HEARING, "train.warm_start": "linear", "model.linear.layers": [1, 3]}))
    assert parse(put(values(), {"features.encoder": ENCODER, "model.kind": "linear"})).model.reads_encoder == "pooled"
    assert parse(put(values(), {"features.encoder": ENCODER})).model.reads_encoder is None


@pytest.mark.parametrize("value", ["x" * 30_000, [0] * 10_000])
@pytest.mark.parametrize("key", ["corpora.demo.source.kind", "model.transformer.view", "model.linear.layers"])
def test_a_message_is_no_longer_than_can_be_read(key, value):
    with pytest.raises(ParamsError) as refused:
        parse(changed(key, value))
    assert max(map(len, str(refused.value).splitlines())) < 700
