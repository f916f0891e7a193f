"""A picture of one recording: its waveform, the detected speech, and the log-mel."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from ser import SerError
from ser.corpora.archives import open_archive
from ser.corpora.listing import Found
from ser.diagram.saving import save
from ser.params import Params
from ser.signal import audio, vad
from ser.signal.clips import to_float, to_int16
from ser.views import features


def named(asked: str, recordings: list[Found]) -> Found:
    """The recording with this id, or the only one whose id contains what was asked.

    Raises:
        SerError: if no recording matches, or several.
    """
    matches = [one for one in recordings if one.clip == asked] or [one for one in recordings if asked in one.clip]
    if len(matches) != 1:
        some = ", ".join(one.clip for one in (matches or recordings)[:5])
        raise SerError(f"{asked}: {len(matches)} recordings match; for example {some}")
    return matches[0]


def draw(one: Found, params: Params, path: Path) -> None:
    """Draw the waveform with the detected speech, and the log-mel of the whole recording, into an image file.

    Args:
        one: the recording, in its archive.
        params: the sections ``preprocess`` and ``features`` are read.
        path: image to write; its suffix gives the format.

    Raises:
        AudioError: if the recording cannot be decoded.
        SerError: if the suffix is not a known format.
    """
    settings, rate = params.preprocess, params.preprocess.sample_rate
    with open_archive(one.archive) as archive:
        signal = to_float(to_int16(audio.decode(archive.read(one.member), rate)))
    speech = vad.segments(signal, rate, settings.vad)
    log_mel = features.exact(signal, rate, params.features)["log_mel"]
    seconds, hop = len(signal) / rate, params.features.frames.hop_length / rate

    figure = Figure(figsize=(11, 6), layout="constrained")
    wave, mel = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.3])
    removed = vad.removed(speech, len(signal), settings.vad.keep)
    title = f"{one.clip} ({one.recording.emotion}) · VAD {settings.vad.method}, {settings.vad.keep}: {removed:.0%} removed"
    wave.set_title(title + ("" if len(speech) else " (no speech found: all is kept)"), fontsize=10)
    times = [i / rate for i in range(len(signal))]
    wave.plot(times, signal, linewidth=0.4, color="#30475e")
    for start, end in speech / rate:
        wave.axvspan(start, end, color="#f2a365", alpha=0.35, linewidth=0)
        mel.axvspan(start, end, ymin=0.97, color="#f2a365", linewidth=0)
    wave.set_ylabel("amplitude")
    image = mel.imshow(
        log_mel[:, : params.features.log_mel.n_mels].T,
        origin="lower",
        aspect="auto",
        extent=(-hop / 2, (len(log_mel) - 0.5) * hop, 0, log_mel.shape[1]),
    )
    mel.set(xlabel="seconds (speech shaded above, marked on the upper edge below)", ylabel="mel band", xlim=(0, seconds))
    figure.colorbar(image, ax=mel, label="dB", pad=0.01)
    save(figure, path, 110, {"Software": None}, "--out")
