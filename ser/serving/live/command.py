"""``ser listen``: emotion in a microphone or a pipe, one line a second."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from typing import TYPE_CHECKING

from ser import SerError
from ser.runtime.text import percent, printable
from ser.serving.options import number, probability, whole

if TYPE_CHECKING:
    from ser.serving.live.steps import Settings, Step

_BAR = 20
"""Width of a full bar in characters."""
_KEPT = 10_000
"""Latest steps whose times the summary counts."""


def add_listen(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of ``ser``."""
    listen = commands.add_parser(
        "listen",
        help="emotion live, from a microphone or a pipe",
        description="Emotion live, one line a second, until Ctrl-C or the end of the pipe. Nothing is stored.",
    )
    listen.add_argument("--bundle", metavar="BUNDLE", help="model, as of ser predict")
    listen.add_argument("--speaker", metavar="NAME", help="an enrolled speaker, see `ser enroll`")
    listen.add_argument("--stdin", action="store_true", help="raw samples from standard input: 16 bit, little-endian (s16le)")
    listen.add_argument(
        "--rate", type=whole(4000, 384_000, "samples per second"), default=16_000, metavar="HZ", help="samples per second (default 16000)"
    )
    listen.add_argument(
        "--channels", type=whole(1, 64, "channels"), default=1, metavar="N", help="channels, which are averaged (default 1)"
    )
    listen.add_argument("--device", metavar="NAME", help="microphone: its number, or part of its name; `python -m sounddevice` lists them")
    listen.add_argument("--window", type=number(0.05, 60, "seconds"), metavar="S", help="seconds judged at once (default 3)")
    listen.add_argument("--every", type=number(0.05, 60, "seconds"), metavar="S", help="seconds from one line to the next (default 1)")
    listen.add_argument(
        "--hold", type=whole(1, 1000, "lines"), metavar="N", help="lines that another emotion must lead before it is shown (default 2)"
    )
    listen.add_argument("--margin", type=probability, metavar="P", help="lead in probability that is shown at once (default 0.3)")
    listen.add_argument("--min-confidence", type=probability, default=0.0, metavar="P", help="below this probability say 'uncertain'")
    listen.add_argument("--jsonl", action="store_true", help="one JSON object per line, for programs")
    listen.set_defaults(run=_listen)


def _listen(options: argparse.Namespace) -> int:
    """Print a line for each step; a summary at the end, also after Ctrl-C, which ends it without error."""
    from ser.serving import references
    from ser.serving.cli import about
    from ser.serving.live.sources import microphone, standard_input
    from ser.serving.live.steps import Settings, steps
    from ser.serving.predict import Predictor
    from ser.serving.speakers import store

    if options.stdin and options.device is not None:
        raise SerError("--device names a microphone, and --stdin reads a pipe: choose one of the two")
    predictor = Predictor(references.chosen(options.bundle), options.min_confidence)
    if predictor.bundle.features.normalise == "speaker":
        raise SerError(
            "this model standardises features by all recordings of a speaker, and a stream has none yet: choose another with --bundle"
        )
    if options.speaker is not None:
        predictor = predictor.knowing(store.read(options.speaker))
    asked = {name: getattr(options, name) for name in ("window", "every", "hold", "margin")}
    settings = Settings(options.rate, options.channels, **{name: value for name, value in asked.items() if value is not None})
    source = standard_input(options.channels) if options.stdin else microphone(options.rate, options.channels, options.device)
    try:
        found = steps(predictor, source, settings)
    except ValueError as error:
        raise SerError(str(error)) from None
    summary = Summary()
    print(printable(about(predictor.bundle)), file=sys.stderr)
    print(f"listening to {'standard input' if options.stdin else 'the microphone'}; Ctrl-C ends it", file=sys.stderr)
    try:
        for step in found:
            sys.stdout.write(line(step, options.jsonl))
            sys.stdout.flush()
            if step.skipped and not summary.skipped:
                print("answers are slower than the sound: windows are skipped to keep up", file=sys.stderr)
            summary.count(step)
    except KeyboardInterrupt:
        print(file=sys.stderr)
    print(summary.text(settings), file=sys.stderr)
    return 0


def line(step: Step, as_json: bool) -> str:
    """A step for people: time, shown emotion and its probability as a bar; or all of it for programs."""
    if as_json:
        entry = {
            "time": round(step.end, 3),
            "emotion": step.emotion or None,
            "leading": step.leading or None,
            "probabilities": {name: round(p, 6) for name, p in step.probabilities.items()},
            "problem": step.problem or None,
            "latency": None if step.latency is None else round(step.latency, 4),
            "judging": round(step.judging, 4),
            "skipped": step.skipped,
        }
        return json.dumps(entry) + "\n"
    minutes, seconds = divmod(step.end, 60)
    clock = f"{int(minutes):02d}:{seconds:04.1f}"
    if not step.emotion:
        return f"{clock}  {printable(step.problem) or 'silence'}\n"
    p = step.probabilities.get(step.emotion, max(step.probabilities.values()))
    full = round(p * _BAR)
    return f"{clock}  {printable(step.emotion):<10}  {'█' * full}{'·' * (_BAR - full)} {percent(p) + '%':>6}\n"


class Summary:
    """What the steps had in common. It keeps the times of the latest only, so that it does not grow.

    Attributes:
        skipped: windows that were left out.
    """

    def __init__(self) -> None:
        self.skipped = 0
        self._steps, self._end = 0, 0.0
        self._latencies: list[float] = []
        self._judging: list[float] = []

    def count(self, step: Step) -> None:
        """Take one step in."""
        self._steps, self._end, self.skipped = self._steps + 1, step.end, self.skipped + step.skipped
        self._judging.append(step.judging)
        if step.latency is None:
            self._latencies.clear()  # those so far were of a buffer, and not of a voice
        else:
            self._latencies.append(step.latency)
        del self._judging[:-_KEPT], self._latencies[:-_KEPT]

    def text(self, settings: Settings) -> str:
        """One line."""
        if not self._steps:
            return "nothing was heard"
        said = f"{self._end:.1f} s heard, {self._steps} windows judged in {1000 * statistics.median(self._judging):.0f} ms each (median)"
        if self._latencies:
            ordered = sorted(self._latencies)
            said += f"; latency {ordered[len(ordered) // 2]:.2f} s, at most {ordered[-1]:.2f} s"
        else:
            said += "; the source is faster than a live one, so there is no latency"
        return said + (
            f"; {self.skipped} windows skipped, because answers were slower than one in {settings.every:g} s" if self.skipped else ""
        )
