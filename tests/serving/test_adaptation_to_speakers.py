"""What a few clips of a speaker change: nothing without evidence, the right things with it, and numbers that survive their file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax

from ser import SerError
from ser.model.linear import Linear
from ser.serving import references
from ser.serving.bundle import Bundle, read
from ser.serving.export import linear_graph
from ser.serving.graph import constants
from ser.serving.model_graph import Standard, standard
from ser.serving.predict import Predictor
from ser.serving.speakers.adaptation import PSEUDO, SPREAD, adapted
from ser.serving.speakers.profile import Profile, profile
from tests.serving import small

K, COLUMNS = 3, 6
UNKNOWN = -np.ones(100, dtype=int)


def clips(count: int, offset: tuple[float, ...] = (0.0, 0.0, 0.0), seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities that are right but for an offset of the speaker, and columns that tell the labels too."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % K
    logits = 1.5 * np.eye(K)[labels] + random.normal(0, 0.5, (count, K)) + np.array(offset)
    columns = np.concatenate([np.eye(K)[labels], np.zeros((count, K))], axis=1) + random.normal(0, 0.1, (count, COLUMNS))
    return labels, softmax(logits, axis=1), (5 + 2 * columns).astype(np.float32)


KNOWN = Standard(np.log([0.5, 0.3, 0.2]), np.full(COLUMNS, 5.0), np.array([2.0] * 5 + [np.inf]))


@pytest.mark.parametrize("count", [1, 8, 90])
@pytest.mark.parametrize("known", [KNOWN, Standard(np.zeros(K))])
def test_without_labels_the_mean_moves_towards_the_average_clip(count: int, known: Standard) -> None:
    _, p, pooled = clips(count, (2.0, 0.0, 0.0))
    found = adapted(known, p, pooled, UNKNOWN[:count])
    moved, logs = np.log(found.applied(p, pooled)).mean(0), np.log(p).mean(0)
    share = count / (count + PSEUDO)
    expected = logs + share * (known.answer - logs)
    difference = lambda values: values - values.mean()  # noqa: E731
    assert found.weights.size == 0
    assert difference(found.shift) == pytest.approx(difference(share * (known.answer - logs)))
    assert difference(moved) == pytest.approx(difference(expected), abs=1e-9)


def test_a_voice_that_always_sounds_alike_is_told_apart() -> None:
    labels, p, _ = clips(90, (4.0, 0.0, 0.0))
    assert (p.argmax(1) == labels).mean() < 0.5
    found = adapted(Standard(np.zeros(K)), p[:45], None, UNKNOWN[:45])
    assert (found.applied(p[45:], None).argmax(1) == labels[45:]).mean() > 0.9


@pytest.mark.parametrize(("known", "reads"), [(KNOWN, "pooled"), (Standard(np.zeros(K)), "answers")])
def test_labels_help_where_answers_are_wrong_in_another_way(known: Standard, reads: str) -> None:
    """Two classes are taken for each other, which no shift can mend."""
    labels, p, pooled = clips(60)
    swapped = p[:, [1, 0, 2]]
    found = adapted(known, swapped[:30], pooled[:30], labels[:30])
    assert found.reads == reads
    before = (swapped[30:].argmax(1) == labels[30:]).mean()
    assert before < 0.5
    assert (found.applied(swapped[30:], pooled[30:]).argmax(1) == labels[30:]).mean() > 0.8


@pytest.mark.parametrize(("known", "count"), [(KNOWN, 9), (KNOWN, 30), (Standard(np.zeros(K)), 30)])
def test_weights_are_the_most_probable_ones_and_change_nothing_of_the_middle(known: Standard, count: int) -> None:
    """At the maximum the penalty balances the errors; and the clip that lies where the speaker's do is only shifted."""
    labels, p, pooled = clips(count, (1.0, 0.0, 0.0))
    penalty, share = 0.5, count / (count + PSEUDO)
    found, plain = (adapted(known, p, pooled, some, penalty=penalty) for some in (labels, UNKNOWN[:count]))
    if found.reads == "pooled":
        assert known.centre is not None
        assert known.scale is not None
        values, scale, centre = pooled.astype(np.float64), known.scale, known.centre
    else:
        logs = np.log(p)
        values, scale, centre = logs - logs.mean(1, keepdims=True), np.full(K, SPREAD), np.zeros(K)
    columns = (values - centre) / scale
    columns -= share * columns.mean(0)
    errors = np.eye(K)[labels] - found.applied(p, pooled)
    read = np.isfinite(scale)
    assert (found.weights * np.where(read, scale, 1))[:, read] == pytest.approx(
        (errors.T @ columns)[:, read] / read.sum() / penalty, abs=2e-3
    )
    middle = centre + np.where(read, scale, 0) * share * ((values - centre) / scale).mean(0)
    assert found.shift + found.weights @ middle == pytest.approx(plain.shift)


def test_a_strong_prior_leaves_the_shift_alone() -> None:
    labels, p, pooled = clips(30)
    plain, firm = (adapted(KNOWN, p, pooled, some, penalty=1e9) for some in (UNKNOWN[:30], labels))
    assert firm.applied(p, pooled) == pytest.approx(plain.applied(p, pooled), abs=1e-6)
    assert not np.allclose(adapted(KNOWN, p, pooled, labels).applied(p, pooled), plain.applied(p, pooled), atol=0.05)


@pytest.mark.parametrize("known", [np.array([0]), np.array([2, 2, 2, 2]), np.array([-1, 0, -1, 1])])
def test_few_labels_or_of_one_class_give_probabilities(known: np.ndarray) -> None:
    _, p, pooled = clips(len(known))
    given = adapted(KNOWN, p, pooled, known).applied(p, pooled)
    assert given.sum(1) == pytest.approx(1)
    assert np.isfinite(given).all()


def test_extreme_answers_stay_numbers() -> None:
    p = np.eye(K)[[0, 0, 1, 2]]
    found = adapted(Standard(np.zeros(K)), p, None, np.array([0, 1, 1, 2]))
    assert np.isfinite(found.applied(p, None)).all()
    assert np.abs(found.weights).max() < 100 / SPREAD


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("known", [KNOWN, Standard(np.zeros(K))])
def test_a_file_keeps_it(labelled: bool, known: Standard) -> None:
    labels, p, pooled = clips(30)
    labels = labels if labelled else UNKNOWN[:30]
    found = adapted(known, p, pooled, labels)
    kept = profile(small.facts(b""), found, labels)
    again = Profile.model_validate_json(kept.model_dump_json())
    assert again == kept
    assert again.labelled == ({"neutral": 10, "happy": 10, "sad": 10} if labelled else {})
    assert again.adaptation.applied(p, pooled) == pytest.approx(found.applied(p, pooled), abs=1e-5)


def test_other_columns_are_refused() -> None:
    labels, p, pooled = clips(30)
    found = adapted(KNOWN, p, pooled, labels)
    for other in (None, pooled[:, :2]):
        with pytest.raises(SerError, match="6 columns that this model does not have"):
            found.applied(p, other)


# what the graph knows


def regression(columns: list[int], seed: int) -> Linear:
    machine, draw = Linear(len(columns), K), torch.Generator().manual_seed(seed)
    machine.columns.copy_(torch.tensor(columns))
    for name in ("centre", "weight", "bias"):
        machine.get_buffer(name).normal_(generator=draw)
    machine.scale.uniform_(0.5, 2, generator=draw)
    return machine


def linear(*machines: Linear) -> tuple[bytes, Bundle]:
    """A graph of regressions on one layer, three wide; and its bundle's facts, as far as they are read."""
    made = small.facts(b"")
    encoder = read(references.PACKAGED / "ravdess").encoder
    assert encoder is not None
    encoder = encoder.model_copy(update={"layers": [1], "width": 3})
    return linear_graph.to_onnx(machines, COLUMNS), made.model_copy(
        update={"kind": "linear", "encoder": encoder, "networks": made.networks[: len(machines)]}
    )


def test_the_standard_is_the_regressions_own() -> None:
    first, second = regression([0, 1, 2], 0), regression([2, 4], 1)
    model, facts = linear(first, second)
    centres = [one.centre.tolist() for one in (first, second)]
    found = standard(model, facts, lambda p: p.mean(axis=0))
    assert found.centre is not None
    assert found.scale is not None
    assert found.centre[[0, 1, 4]] == pytest.approx([*centres[0][:2], centres[1][1]])
    assert found.centre[2] == pytest.approx((centres[0][2] + centres[1][0]) / 2)
    assert found.scale[[0, 4]] == pytest.approx([float(first.scale[0]), float(second.scale[1])])
    assert np.isinf(found.scale[[3, 5]]).all()
    answers = softmax(np.stack([one.bias.numpy() for one in (first, second)]).astype(np.float64), axis=1)
    assert np.exp(found.answer) == pytest.approx(answers.mean(axis=0))


def test_a_graph_that_does_not_tell_gives_no_standard() -> None:
    model, facts = linear(regression([0, 1, 2], 0))
    assert set(constants(model, {"0/bias", "0/columns", "nowhere"})) == {"0/bias", "0/columns"}
    broken = [linear(regression([0, 1, 99], 0))[0], linear(regression([0, 1, -1], 0))[0], small.network()]
    flat = regression([0, 1, 2], 0)
    flat.scale[1] = 0.0
    for given, about in (*((one, facts) for one in [*broken, linear(flat)[0]]), (small.network(), small.facts(b""))):
        found = standard(given, about, lambda p: p.mean(axis=0))
        assert found.centre is None
        assert found.answer.tolist() == [0, 0, 0]


def test_the_travelling_model_says_of_the_average_clip_what_its_standard_says() -> None:
    predictor = Predictor(references.PACKAGED / "ravdess")
    known = predictor.standard()
    assert known.centre is not None
    said = predictor.average(predictor._networks._graph.run({"pooled": known.centre[None].astype(np.float32)})[:, 0].astype(np.float64))
    assert known.answer == pytest.approx(np.log(said), abs=1e-3)


def test_a_profile_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    labels, p, _ = clips(30)
    kept = profile(Predictor(folder).bundle, adapted(Standard(np.zeros(K)), p, None, labels), labels)
    Predictor(folder).knowing(kept)
    other = Predictor(small.write(tmp_path / "other", max_frames=99))
    with pytest.raises(SerError, match=r"made with another model \(of made\): enroll again"):
        other.knowing(kept)
