"""Search spaces: what is taken, and what is refused with which words."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser.params import load, parse
from ser.search.space import Axis, SpaceError, put, read
from tests.made import ROOT, params


def space(tmp_path, text: str) -> list[Axis]:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return read(path, params())


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("train.lr: {log: [1e-4, 1e-2]}", Axis("train.lr", "log", (1e-4, 1e-2))),
        ("train.weight_decay: {float: [0, 1]}", Axis("train.weight_decay", "float", (0.0, 1.0))),
        ("train.augment.band_shift: {int: [0, 4]}", Axis("train.augment.band_shift", "int", (0, 4))),
        ("model.fusion: {choose: [gate, sum]}", Axis("model.fusion", "choose", ("gate", "sum"))),
        ("model.transformer.dim: {choose: [null, 16]}", Axis("model.transformer.dim", "choose", (None, 16))),
        ("model.branches: {choose: [[mfcc_cnn], [transformer]]}", Axis("model.branches", "choose", (["mfcc_cnn"], ["transformer"]))),
        ("model.cnn.channels: {choose: [[4], [8, 16]]}", Axis("model.cnn.channels", "choose", ([4], [8, 16]))),  # its rule needs other keys
        ("model.heads: {choose: [3, 4]}", Axis("model.heads", "choose", (3, 4))),
        ("train.fast: {choose: [true, false]}", Axis("train.fast", "choose", (True, False))),
        ("train.label_smoothing: {choose: [0, 0.2]}", Axis("train.label_smoothing", "choose", (0.0, 0.2))),
        ("train.augment.noise_snr_db: {choose: [null, [5, 30]]}", Axis("train.augment.noise_snr_db", "choose", (None, [5.0, 30.0]))),
    ],
)  # fmt: skip
def test_one_key(tmp_path, text, axis):
    assert repr(space(tmp_path, text)) == repr([axis])  # 0 is no 0.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no keys"),
        ("{}", "holds no keys"),
        ("[train.lr]", "holds no keys"),
        ("train.lr", "holds no keys"),
        ("train.lr: {log: [1e-4", "not valid YAML"),
        ("train.lr: {log: [1, 2]}\ntrain.lr: {log: [1, 2]}", "not valid YAML"),
        ("train.lr: !!python/object/apply:os.system {log: [1, 2]}", "not valid YAML"),
        ("7: {int: [1, 2]}", "found the key 7"),
        ("train.lr: 0.1", "expected one of choose, float, int, log"),
        ("train.lr: {logarithmic: [0.1, 1]}", "expected one of"),
        ("train.lr: {log: [0.1, 1], int: [1, 2]}", "expected one of"),
        ("train: {lr: {log: [0.1, 1]}}", "expected one of"),
        ("train.lr: {log: [0.1, 1, 2]}", "needs two numbers"),
        ("train.lr: {log: 0.1}", "needs two numbers"),
        ("train.lr: {log: [0.1, 0.1]}", "low < high"),
        ("train.lr: {log: ['0.1', '1']}", "needs two numbers"),
        ("train.lr: {log: [false, true]}", "needs two numbers"),
        ("train.lr: {float: [0.1, .inf]}", "needs two numbers"),
        ("train.lr: {float: [.nan, 1.0]}", "needs two numbers"),
        ("train.lr: {log: [0, 1]}", "must be above 0"),
        ("train.epochs: {int: [1.0, 4.0]}", "needs two whole numbers"),
        ("model.dim: {choose: 64}", "list of 2 to 100"),
        ("model.dim: {choose: [64]}", "list of 2 to 100"),
        (f"model.dim: {{choose: {list(range(4, 400))}}}", "list of 2 to 100"),
        ("model.dim: {choose: [64, 64]}", "named twice"),
        ("train.label_smoothing: {choose: [0, 0.0]}", "named twice"),
        ("model.cnn: {choose: [{bias: true}, {bias: false}]}", "not sections"),
        ("train.lrr: {log: [0.1, 1]}", r"train\.lrr: unknown key; did you mean 'lr'"),
        ("trian.lr: {log: [0.1, 1]}", r"trian: unknown key; did you mean 'train'"),
        ("train.lr.peak: {log: [0.1, 1]}", "lr is a value, not a section"),
        ("train: {log: [0.1, 1]}", "train"),
        ("train.lr: {log: [0.1, 20]}", r"train\.lr: found 20\.0 .*≤ 10"),
        ("train.batch_size: {int: [1, 8]}", r"train\.batch_size: found 1 .*≥ 2"),
        ("train.epochs: {float: [1, 8]}", r"train\.epochs: found 1\.0 .*a whole number"),
        ("model.fusion: {choose: [gate, gates]}", r"model\.fusion: found 'gates' .*alternating_coattention \| .*gate \| "),
        ("model.branches: {choose: [[mfcc_cnn], []]}", r"model\.branches: found \[\]"),
        ("preprocess.vad.aggressiveness: {int: [0, 3]}", r"cannot be searched.*dvc exp run --queue -S 'preprocess\.vad\."),
        ("features.log_mel.n_mels: {choose: [40, 64]}", "cannot be searched here"),
        ("features.normalise: {choose: [corpus, speaker]}", "cannot be searched here"),
        ("split.seed: {int: [0, 9]}", "cannot be searched here"),
        ("runtime.threads: {int: [1, 2]}", "cannot be searched here"),
        ("train.seeds: {choose: [[0], [1]]}", "lucky seed"),
        (f"train.lr: {{float: [0, 1{'0' * 400}]}}", "needs two numbers"),
        (f"train.epochs: {{int: [0, 1{'0' * 400}]}}", "needs two whole numbers"),
        (f"train.epochs: {{int: [0, 0x{'f' * 9000}]}}", r"needs two whole numbers .* found a value too long to write"),
        (f"train.epochs: {{choose: [1, 0x{'f' * 9000}]}}", "train.epochs"),
        (f"train.epochs: {{choose: 0x{'f' * 9000}}}", "list of 2 to 100"),
        (f"train.epochs: 0x{'f' * 9000}", "expected one of"),
        (f"0x{'f' * 900}: 1", r"found the key \d{199}…; keys are"),
        (f"train.lr: {{float: [0, {'9' * 9000}]}}", "is not valid YAML"),
        ("train.lr: {choose: [2020-13-01, 0.1]}", "is not valid YAML: month must be in 1..12"),
        ("train.lr: {choose: [!!bool maybe, 0.1]}", "is not valid YAML"),
        ("[" * 5000, "nests too deep"),
    ],
    ids=lambda value: value[:60],
)  # fmt: skip
def test_refused(tmp_path, text, message):
    with pytest.raises(SpaceError, match=rf"(?s)space\.yaml.*{message}"):
        space(tmp_path, text)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "space.yaml")
    with pytest.raises(SpaceError, match=r"space\.yaml: no regular file; docs/search-space\.yaml is an example"):
        read(tmp_path / "space.yaml", params())


def test_file_that_is_not_there_names_the_example(tmp_path):
    with pytest.raises(SpaceError, match=r"none\.yaml cannot be read: .*docs/search-space\.yaml"):
        read(tmp_path / "none.yaml", params())


def test_shipped_example_fits_the_shipped_parameters():
    ours = load(ROOT / "params.yaml")
    axes = read(ROOT / "docs/search-space.yaml", ours)
    assert len(axes) >= 5
    assert [axis.key for axis in axes] == sorted(axis.key for axis in axes)
    for axis in axes:
        now = ours.model_dump()
        for name in axis.key.split("."):
            now = now[name]
        assert axis.holds(now), f"{axis.key}: the search could not begin with params.yaml as it is"


@pytest.mark.parametrize("given", ["choose: [0, 6]", "int: [0, 6]", "float: [0, 6]"])
def test_whole_ends_of_a_key_that_takes_fractions_hold_params_yaml(tmp_path, given):
    (axis,) = space(tmp_path, f"train.augment.gain_db: {{{given}}}")
    assert axis.holds(parse(put(params().model_dump(), {"train.augment.gain_db": 6})).train.augment.gain_db)


def test_put_leaves_the_given_values_alone():
    given = params().model_dump()
    before = json.dumps(given)
    changed = parse(put(given, {"train.lr": 0.5, "model.cnn.dropout": 0.25}))
    assert (changed.train.lr, changed.model.cnn.dropout) == (0.5, 0.25)
    assert json.dumps(given) == before


@pytest.mark.parametrize(
    ("axis", "inside", "outside"),
    [
        (Axis("k", "int", (1, 3)), [1, 3, 2.0], [0, 4, 2.5, True, "2", None]),
        (Axis("k", "log", (0.1, 3.0)), [0.1, 1, 3.0], [0.09, 3.1, None, True, "1"]),
        (Axis("k", "choose", (None, 1, [2])), [None, 1, [2]], [True, 2, [], [2, 2], "1"]),
    ],
)
def test_what_an_axis_holds(axis, inside, outside):
    assert all(axis.holds(value) for value in inside)
    assert not any(axis.holds(value) for value in outside)


@given(
    st.floats(1e-9, 1e9)
    .flatmap(lambda low: st.tuples(st.just(low), st.floats(low * 1.001, low * 1e6)))
    .flatmap(lambda ends: st.tuples(st.just(ends), st.floats(*ends)))
)
def test_rounding_stays_inside_and_near(drawn):
    (low, high), value = drawn
    rounded = Axis("k", "float", (low, high)).rounded(value)
    assert low <= rounded <= high
    assert rounded == pytest.approx(value, rel=1e-3)
