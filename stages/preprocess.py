"""Packed archives → clips at the working rate: data/clips/<corpus>/.

With --show CLIP nothing is written there: one recording's waveform, what voice activity detection decides, and its log-mel are drawn.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from ser import SerError
from ser.corpora.archives import open_archive
from ser.corpora.listing import Found, list_recordings
from ser.params import Params
from ser.signal import audio, preprocessing, vad
from ser.signal.clips import to_float, to_int16
from ser.views import features
from stages import command

log = logging.getLogger(__name__)


def main(params: Params, options: argparse.Namespace) -> None:
    """Preprocess the corpus ``options.dataset``, or draw one recording of it."""
    name = options.dataset
    corpus, raw = params.corpora[name], Path("data/raw") / name
    if options.show is not None:
        found, _ = list_recordings(name, corpus, raw)
        draw(_named(options.show, found), params, Path(options.out))
        return
    summary = preprocessing.build(name, corpus, raw, Path("data/clips") / name, params.preprocess, params.runtime)
    rejected = ", ".join(f"{reason} {count}" for reason, count in summary["rejected"].items()) or "none"
    log.info("%s: %d found = %d kept + rejected (%s)", name, summary["files_found"], summary["kept"], rejected)
    for emotion, share in summary["vad"]["by_emotion"].items():
        log.info(
            "  %s: VAD removed %.1f %% of %d clips, %d without speech", emotion, 100 * share["removed"], share["clips"], share["no_speech"]
        )


def _named(asked: str, found: list[Found]) -> Found:
    """The recording with this id, or the only one whose id contains what was asked."""
    matches = [one for one in found if one.clip == asked] or [one for one in found if asked in one.clip]
    if len(matches) != 1:
        some = ", ".join(one.clip for one in (matches or found)[:5])
        raise SerError(f"--show {asked}: {len(matches)} recordings match; for example {some}")
    return matches[0]


def draw(one: Found, params: Params, path: Path) -> None:
    """Waveform with the detected speech, and log-mel of the whole recording, into an image file.

    Raises:
        AudioError: when the recording cannot be decoded.
    """
    from matplotlib.figure import Figure

    settings, rate = params.preprocess, params.preprocess.sample_rate
    with open_archive(one.archive) as archive:
        signal = to_float(to_int16(audio.decode(archive.read(one.member), rate)))
    speech = vad.segments(signal, rate, settings.vad)
    log_mel, _ = features.log_mel_and_mfcc(signal, rate, params.features)
    seconds, hop = len(signal) / rate, params.features.frames.hop_length / rate

    figure = Figure(figsize=(11, 6), layout="constrained")
    wave, mel = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.3])
    removed = vad.removed(speech, len(signal), settings.vad.keep)
    title = f"{one.clip} ({one.recording.emotion}) · VAD {settings.vad.method}, {settings.vad.keep}: {removed:.0%} removed"
    wave.set_title(title + ("" if len(speech) else " (no speech found: all of it is kept)"), fontsize=10)
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
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        figure.savefig(path, dpi=110, metadata={"Software": None})
    except ValueError as error:  # a suffix that names no format
        raise SerError(f"--out {path}: {error}") from None
    log.info("%s", path)


if __name__ == "__main__":
    arguments = command.parser(__doc__)
    arguments.add_argument(
        "--show", metavar="CLIP", help="draw this recording (its id, or a part that only it has) instead of preprocessing"
    )
    arguments.add_argument("--out", metavar="FILE.png", default="vad.png", help="where --show draws (default: vad.png)")
    command.run(arguments, main)
