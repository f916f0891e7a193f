"""Benchmarks: what they leave behind, and that they measure what the parameters say; never how fast anything is."""

from __future__ import annotations

import json
import queue
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import curves, gpu, record, training
from ser import SerError
from ser.diagram.built import build
from ser.params import Params
from ser.views.features import widths
from ser.views.spectrum import frame_count
from tests import made


def recorded(name: str) -> dict[str, Any]:
    return json.loads(Path("metrics/benchmarks", f"{name}.json").read_text(encoding="utf-8"))


def test_a_record_holds_figures_provenance_and_the_parameters_they_hold_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = made.params(features__frames__hop_length=200)
    record.record("tried", {"speed": 1.5}, [{"what": "a", "seconds": 2}], params=params)
    found = recorded("tried")
    assert list(found) == ["figures", "rows", "params", "command", "revision", "cpu", "cores", "gpu", "python", "libraries"]
    assert (found["figures"], found["rows"]) == ({"speed": 1.5}, [{"what": "a", "seconds": 2}])
    assert found["params"] == {name: params.model_dump(mode="json")[name] for name in ("preprocess", "features", "model")}
    assert found["params"]["features"]["frames"]["hop_length"] == 200


def test_a_benchmark_names_the_sections_it_depends_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record.record("tried", {}, params=made.params(), sections=("preprocess", "evaluate"))
    assert list(recorded("tried")["params"]) == ["preprocess", "evaluate"]
    with pytest.raises(KeyError):
        record.record("tried", {}, params=made.params(), sections=("modle",))


# training


def with_deltas(deltas: bool) -> Params:
    """Small parameters; with deltas no augmentation may change mel bands, from which MFCC could not be computed again."""
    return made.params(features__deltas=deltas, train__augment__noise_domain="waveform", train__augment__band_shift=0)


@pytest.mark.parametrize("deltas", [False, True])
def test_the_batch_is_what_the_network_of_these_parameters_takes(monkeypatch, deltas):
    monkeypatch.setattr(training, "SECONDS", 1)
    params = with_deltas(deltas)
    views, lengths = training.noise(params, 3, "cpu")
    frames = frame_count(params.preprocess.sample_rate, params.features.frames)
    assert {name: view.shape for name, view in views.items()} == {name: (3, frames, n) for name, n in widths(params.features).items()}
    assert lengths.tolist() == [frames] * 3
    assert build(params, training.CLASSES)(views, lengths).shape == (3, training.CLASSES)


@pytest.mark.parametrize("deltas", [False, True])
def test_steps_are_counted_after_the_warm_up(monkeypatch, deltas):
    monkeypatch.setattr(training, "SECONDS", 1)
    monkeypatch.setattr(training, "set_up", lambda runtime: None)  # it changes this process's memory and threads
    ready = []
    assert training.our_clips(with_deltas(deltas), 2, 1, "cpu", False, lambda: ready.append(1)) == 2
    assert ready == [1]


def one_of_two_fails(folder: str, ready: Any) -> int:
    """Whoever comes first fails; the other waits for it."""
    try:
        Path(folder, "taken").touch(exist_ok=False)
    except FileExistsError:
        ready()
        return 1
    raise ValueError("the first to come fails")


def test_a_child_that_fails_ends_the_benchmark_with_an_error(tmp_path, capfd):
    with pytest.raises(SerError, match=r"one_of_two_fails: 2 of 2 processes ended with an error"):
        training.side_by_side(one_of_two_fails, 2, (str(tmp_path),))
    said = capfd.readouterr().err
    assert "ValueError: the first to come fails" in said
    assert "one_of_two_fails: another process failed" in said


def three_clips(ready: Any) -> int:
    ready()
    return 3


def test_nobody_waits_for_ever_for_a_child_that_is_not_ready():
    with pytest.raises(SystemExit, match=r"three_clips: another process failed, or was not ready within 0\.01 s"):
        training._timed(three_clips, (), threading.Barrier(2), None, 0.01)


def test_a_child_hands_back_what_it_did_and_when():
    times: queue.SimpleQueue[tuple[int, float, float]] = queue.SimpleQueue()
    before = time.monotonic()
    training._timed(three_clips, (), threading.Barrier(1), times, 1)
    done, start, end = times.get()
    assert done == 3
    assert before <= start <= end <= time.monotonic()


# signal and model: imported where they are used, for the children above import this module


def test_the_second_core_is_held_against_two_processes_that_share_nothing(tmp_path, monkeypatch):
    from benchmarks import signal

    seconds = {("raw1", 1): 3.0, ("raw2", 1): 6.0, ("raw4", 1): 12.0, ("raw1", 2): 2.5, ("raw2", 2): 4.0, ("raw4", 2): 7.0}
    alone = []

    def child(*code: str) -> dict[str, float]:
        raw, folder, workers = eval(code[-1].removeprefix("measure"))
        audio = 100.0 * len(list(Path(raw).iterdir()))
        if Path(raw).name not in {name for name, _ in seconds}:
            alone.append((raw, folder))
            return {"seconds": 4.0 if len(alone) % 2 else 5.0, "audio_seconds": audio, "rss_mb": 1.0, "all_rss_mb": 1.0}
        return {"seconds": seconds[Path(raw).name, workers], "audio_seconds": audio, "rss_mb": 1.0, "all_rss_mb": 1.0}

    monkeypatch.setattr(signal, "child", child)
    raws = {times: tmp_path / f"raw{times}" for times in (1, 2, 4)}
    for times, raw in raws.items():
        raw.mkdir()
        for number in range(times):
            (raw / str(number)).touch()
    rows, figures = signal.scaling(raws, tmp_path, 2)
    (row,) = [row for row in rows if row["what"] == "two independent processes, each 1 × the clips"]
    assert (row["seconds"], row["times_real_time"]) == (5.0, 40.0)
    assert figures["second_core_ceiling"] == pytest.approx(2 * 3 / 5)
    assert figures["second_core"] == pytest.approx(3 / 1.5)  # per hour of audio
    assert figures["second_core_with_starts"] == pytest.approx(12 / 7)
    assert figures["start_seconds"] == pytest.approx(1)
    assert len(set(alone)) == len({raw for raw, _ in alone}) == len({folder for _, folder in alone}) == 2


@pytest.mark.parametrize("n_fft", [512, 513])
def test_multiply_adds_are_counted_for_the_frames_that_five_seconds_have(monkeypatch, n_fft):
    from benchmarks import model

    seen: list[int] = []
    monkeypatch.setattr(model, "summary", lambda network, frames: seen.append(frames) or [type("", (), {"parameters": 1, "madds": 1})])
    params = made.params(features__frames__n_fft=n_fft)
    model._ours("ours", params, 1)
    assert seen == [frame_count(5 * params.preprocess.sample_rate, params.features.frames)]


def test_the_products_are_those_of_the_encoder():
    """Counted by torch while our network runs on as many tokens."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks import encode
    from ser.encoders.whisper import Shape, WhisperEncoder

    network = WhisperEncoder(Shape.of(encode.WHISPER_BASE, "benchmark"), encode.LAYERS).eval()
    with (
        FlopCounterMode(display=False) as counted,
        torch.inference_mode(),
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    ):
        network(torch.zeros(1, 80, 100))
    assert 2 * sum(n * a * b * c for n, a, b, c in encode.products(50, encode.WHISPER_BASE, 3)) == counted.get_total_flops()


def test_what_the_encoding_benchmark_makes_is_a_store_and_an_encoder(tmp_path, capfd):
    from benchmarks import encode

    encode.measure(str(encode.random_whisper(tmp_path / "whisper")), str(encode.noise(tmp_path / "clips", 3)), 1)
    found = json.loads(capfd.readouterr().out)
    assert found["tokens"] == sum(-(-(int(n) + encode.RATE) // 320) for n in (19_200, 37_600, 56_000))
    assert found["audio_seconds"] == pytest.approx(found["tokens"] / 50 - 3)
    assert found["products_cpu"] > 0
    assert found["encode"] > 0
    assert found["fraction"] == pytest.approx(found["products_cpu"] / found["encode_cpu"])


@pytest.mark.slow
def test_what_the_prediction_benchmark_makes_is_a_bundle_that_predicts(tmp_path, capfd):
    from benchmarks import predict
    from tests.encoders import tiny

    noise = predict.recording(tmp_path / "noise.wav", 2)
    for folder in (predict.bundle(tmp_path / "bundle", tiny.whisper(tmp_path / "whisper")), predict.network_bundle(tmp_path / "network")):
        predict.measure(str(folder), str(noise), 3)
        found = json.loads(capfd.readouterr().out)
        assert len(found["ms"]) == len(found["cpu_ms"]) == 3
        assert found["judged_s"] == pytest.approx(2, abs=0.5)
        assert min(found["open_s"], found["rss_mb"], *found["ms"]) > 0


@pytest.mark.slow
def test_the_prediction_benchmark_counts_failures_of_the_server(tmp_path, monkeypatch):
    from benchmarks import predict
    from tests.serving import small

    monkeypatch.setattr(predict, "REQUESTS", 12)
    monkeypatch.setattr(predict, "HOUR", 20)
    folder = small.write(tmp_path / "made")
    assert min(predict.hour(tmp_path, folder).values()) > 0
    found = predict.served(tmp_path, folder)
    assert found["serve_failures"] == 0
    assert 0 < found["serve_p50_ms"] <= found["serve_p99_ms"]
    monkeypatch.setattr(predict, "recording", lambda path, seconds: tmp_path / "made" / "bundle.json")
    assert predict.served(tmp_path, folder)["serve_failures"] == 12


# a graphics card


def test_the_benchmark_of_a_card_trains_compares_and_repeats(monkeypatch, tmp_path):
    """On the CPU, whose figures say nothing of a card; that a row holds what its name says is `test_the_batch_is…`'s."""
    params = made.params(features__copies=None)
    monkeypatch.setattr(gpu, "set_up", lambda runtime: torch.device(runtime.device))
    monkeypatch.setattr(gpu, "side_by_side", lambda function, processes, arguments: 100.0 * (1 + arguments.count(True)))
    figures, rows = gpu.measure(params, "cpu", clips=48, steps=2, epochs=1)
    assert [row["clips_per_s"] for row in rows] == [100.0, 100.0, 200.0]
    assert figures["bf16_vs_fp32"] == 2
    assert figures["same_bytes_twice"] is True
    assert figures["agrees"] is True
    assert figures["probabilities_apart_from_cpu"] == 0
    assert figures["six_folds_minutes"] == pytest.approx(6 * 60 * figures["epoch_seconds"] / 60, abs=0.5)


def test_a_card_that_computes_otherwise_is_found(monkeypatch):
    params = made.params(features__copies=None)
    network = gpu.inference.probabilities

    def otherwise(machine, corpus, rows, frames):
        calls.append(1)
        return network(machine, corpus, rows, frames) + (3e-4 if len(calls) == 2 else 0)

    calls: list[int] = []
    monkeypatch.setattr(gpu.inference, "probabilities", otherwise)
    assert gpu.disagreement(params, torch.device("cpu")) == pytest.approx(3e-4)


def test_trainings_that_differ_are_found(monkeypatch, tmp_path):
    seeds = iter([0, 1])
    start = gpu.loop.start
    monkeypatch.setattr(gpu.loop, "start", lambda corpus, fold, trained: start(corpus, replace(fold, seed=next(seeds)), trained))
    assert gpu.same_twice(made.params(features__copies=None), torch.device("cpu"), tmp_path) is False


def test_learning_curves_are_drawn_of_the_systems_that_have_run(tmp_path):
    with pytest.raises(SystemExit, match=r"no ravdess-PRESET-loss\.csv"):
        curves.main(tmp_path, tmp_path / "curves.svg")
    (tmp_path / "ravdess-zenkov-loss.csv").write_text("epoch,train_loss,valid_loss,valid_ua\n1,2.0,2.1,0.2\n2,1.0,1.5,0.5\n")
    (tmp_path / "ravdess-zenkov-random.json").write_text('{"wa": 0.75}')
    for _ in range(2):
        curves.main(tmp_path, tmp_path / "curves.svg")
        drawn = (tmp_path / "curves.svg").read_text()
    assert "zenkov" in drawn
    assert "cnn_transformer" not in drawn
    assert "test WA, published" in drawn
