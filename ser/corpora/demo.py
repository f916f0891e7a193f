"""The demo corpus: sentences spoken by espeak-ng's voices with acted emotions.

Synthetic: not a result about human emotion.

It is packed as real corpora are: ``Speaker_01/03-01-EE-II-SS-RR-AA.flac`` in RAVDESS' code. So everything
after the download, from ``ser.corpora.catalogue.demo`` on, treats it as it treats them. Pauses before, in and
after the speech, a different background for every speaker and takes of different loudness give voice activity
detection something to do.
"""

from __future__ import annotations

import importlib.util
import io
import json
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from ser import SerError
from ser.corpora import espeak
from ser.corpora.catalogue.demo import CLASSES
from ser.corpora.expression import FINAL, HABITS, OWN, RULES, SPREAD, Expression, colour, draw, perturb, room
from ser.corpora.packing import fixed_entry
from ser.params.corpora import Synthetic
from ser.runtime.disk import file_written_whole
from ser.runtime.signals import deferred

ARCHIVE = "demo.zip"
SENTENCES = (
    ("The letter is lying", "on the kitchen table"),
    ("They carried the boxes", "up to the second floor"),
    ("At seven in the morning", "the shop will open"),
    ("She is coming back", "on Wednesday evening"),
    ("The blue car", "is parked behind the house"),
    ("He left his keys", "in the other coat"),
    ("We are going", "to the station tomorrow"),
    ("The window", "was open all night"),
)
"""What is said: neutral in content, in two phrases with a pause between them."""

_ACCENTS = ("en-US", "en-GB-x-rp", "en-GB-scotland", "en-US-nyc", "en-029", "en-GB-x-gbclan")
_MALE = ("m1", "m3", "m7", "max", "m8", "m4", "adam", "m2")
_FEMALE = ("f1", "f2", "linda", "f4", "steph", "f3", "belinda", "f5")


@dataclass(frozen=True)
class Take:
    """One recording to be made. Speakers, statements and repetitions count from 1."""

    speaker: int
    emotion: str  # RAVDESS' code
    statement: int
    repetition: int

    @property
    def intensity(self) -> int:
        """2 (strong) for every second statement, else 1 (normal); neutral has no strong intensity."""
        return 1 if self.emotion == "01" else 2 - self.statement % 2

    @property
    def member(self) -> str:
        """Path in the archive."""
        code = f"03-01-{self.emotion}-{self.intensity:02}-{self.statement:02}-{self.repetition:02}-{self.speaker:02}"
        return f"Speaker_{self.speaker:02}/{code}.flac"


@dataclass(frozen=True)
class Voice:
    """A speaker: what stays the same from take to take."""

    name: str  # espeak-ng's language+variant
    own: Expression  # displacement of this speaker's neutral voice from the variant's
    tract: float  # all frequencies times this
    expressive: float  # how far the emotions' rules are followed
    habits: dict[str, Expression]  # this speaker's own deviation from the rule of each emotion
    snr_db: float  # speech to background: webrtc finds pauses in a quiet room, but takes a noisy one for speech
    hum: float


def takes(source: Synthetic) -> list[Take]:
    """Every recording of the corpus, sorted by member name."""
    made = [
        Take(speaker, emotion, statement, repetition)
        for speaker in range(1, source.speakers + 1)
        for emotion in CLASSES
        for statement in range(1, source.sentences + 1)
        for repetition in range(1, source.repetitions + 1)
    ]
    return sorted(made, key=lambda take: take.member)


def write_archive(path: Path, source: Synthetic) -> None:
    """Synthesise the corpus into a zip file; it appears only when it is complete.

    The same source gives the same bytes.

    Args:
        path: the archive to write; its folder exists.
        source: numbers of speakers, sentences and repetitions, and the seed.

    Raises:
        SerError: if espeak-ng is not installed or fails.
    """
    voices = [_voice(source.seed, speaker) for speaker in range(1, source.speakers + 1)]
    wanted = takes(source)
    plans = [_plan(source.seed, take, voices[take.speaker - 1]) for take in wanted]
    spoken = _spoken([phrase for _, _, phrases in plans for phrase in phrases])
    with file_written_whole(path) as part:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            for take, (expression, rng, phrases) in zip(tqdm(wanted, "synthesise", unit="clip", file=sys.stderr), plans, strict=True):
                signal = _record([next(spoken) for _ in phrases], expression, voices[take.speaker - 1], rng)
                archive.writestr(fixed_entry(take.member, mode=0o644), _flac(signal))
        spoken.close()


def _voice(seed: int, speaker: int) -> Voice:
    rng = np.random.default_rng([seed, speaker])
    variants = _MALE if speaker % 2 else _FEMALE
    turn = (speaker - 1) // 2
    return Voice(
        name=f"{_ACCENTS[speaker % len(_ACCENTS)]}+{variants[turn % len(variants)]}",
        own=draw(OWN, rng),
        tract=float(2 ** rng.normal(0.0, 0.04)),
        expressive=float(rng.uniform(0.8, 1.15)),
        habits={emotion: draw(HABITS, rng) for emotion in RULES},
        snr_db=float(rng.uniform(32.0, 56.0)),
        hum=float(rng.choice([0.0, 0.5])),
    )


def _plan(seed: int, take: Take, voice: Voice) -> tuple[Expression, np.random.Generator, list[espeak.Request]]:
    """The take's expression, its generator and what espeak-ng has to say for it."""
    rng = np.random.default_rng([seed, take.speaker, int(take.emotion), take.statement, take.repetition])
    emotion = CLASSES[take.emotion]
    strength = voice.expressive * (1.15 if take.intensity == 2 else 0.9) * float(2 ** rng.normal(0.0, 0.2))
    expression = voice.own.plus(voice.habits[emotion]).plus(RULES[emotion], strength).plus(draw(SPREAD, rng))
    opening, closing = SENTENCES[take.statement - 1]
    final = str(rng.choice(list(FINAL.get(emotion, "."))))
    phrases = [_request(voice.name, text, expression) for text in (opening + ",", closing + final)]
    return expression, rng, phrases


def _request(voice: str, text: str, expression: Expression) -> espeak.Request:
    # espeak-ng's pitch control spans an octave down and up over 50 steps each; its range control is linear,
    # 50 being the voice's own
    return {
        "voice": voice,
        "text": text,
        "rate": round(float(np.clip(165 * 2**expression.rate, 80, 400))),
        "pitch": round(float(np.clip(50 + expression.pitch * 50 / 12, 0, 99))),
        "range": round(float(np.clip(50 * 2**expression.range, 0, 99))),
    }


def _spoken(requests: list[espeak.Request]) -> Generator[np.ndarray]:
    """Each phrase as int16 at ``espeak.SAMPLE_RATE``, from one new process (why: ``ser/corpora/espeak.py``)."""
    if importlib.util.find_spec("espeakng_loader") is None:
        raise SerError("the demo corpus is spoken by espeak-ng, which is not installed: run `pip install espeakng-loader`")
    with tempfile.TemporaryFile() as complaints:
        command = [sys.executable, "-P", espeak.__file__]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints) as speaker:
            assert speaker.stdin is not None
            assert speaker.stdout is not None
            with speaker.stdin as questions:
                questions.write(json.dumps(requests).encode())
            for _ in requests:
                head = speaker.stdout.read(4)
                count = struct.unpack("<I", head)[0] if len(head) == 4 else 0
                pcm = speaker.stdout.read(2 * count)
                if not count or len(pcm) != 2 * count:
                    speaker.wait()
                    complaints.seek(0)
                    said = complaints.read().decode(errors="replace").strip().splitlines()
                    raise SerError(f"espeak-ng stopped with status {speaker.returncode}: {said[-1] if said else 'no message'}")
                yield np.frombuffer(pcm, "<i2")


def _record(phrases: list[np.ndarray], expression: Expression, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """A take from its phrases: pauses, voice, loudness, room; int16 at ``espeak.SAMPLE_RATE``."""
    rate = espeak.SAMPLE_RATE
    spoken = [phrase.astype(np.float64) for phrase in (_trim(phrase) for phrase in phrases)]
    pause = np.zeros(int(rate * np.clip(rng.uniform(0.05, 0.25) * 2**expression.pauses, 0.02, 0.9)))
    speech = np.concatenate([spoken[0], *(part for phrase in spoken[1:] for part in (pause, phrase))])
    speech = perturb(speech, rate, voice.tract, expression.tremor, rng)
    speech = colour(speech, rate, expression.tilt, 0.15 * 2**expression.breath, rng)
    level = 10 ** ((-24.0 + expression.level) / 20)
    speech *= level / np.sqrt(np.mean(np.square(speech)))
    before, after = (int(rate * seconds) for seconds in rng.uniform([0.15, 0.2], [0.6, 0.7]))
    signal = np.pad(speech, (before, after))
    # the room does not get louder with the speaker
    signal += 10 ** ((-24.0 - voice.snr_db) / 20) * room(len(signal), rate, voice.hum, rng)
    peak = np.abs(signal).max()
    if peak > 0.97:
        signal *= 0.97 / peak
    return np.rint(signal * 32767).astype(np.int16)


def _trim(phrase: np.ndarray) -> np.ndarray:
    """Without the silence that espeak-ng puts at the end."""
    loud = np.flatnonzero(np.abs(phrase) > 30)
    return phrase[loud[0] : loud[-1] + 1] if len(loud) else phrase


def _flac(signal: np.ndarray) -> bytes:
    packed = io.BytesIO()
    with deferred():
        soundfile.write(packed, signal, espeak.SAMPLE_RATE, subtype="PCM_16", format="FLAC")
    return packed.getvalue()
