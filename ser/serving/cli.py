"""The command ``ser``: what a trained model does for its user."""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ser import SerError, __version__
from ser.runtime.disk import disk_error
from ser.runtime.output import all_open, printed
from ser.runtime.text import csv_line, no_formula, percent, printable, printable_lines
from ser.serving.live.command import add_listen
from ser.serving.options import number, probability, whole
from ser.serving.page.command import add_serve
from ser.serving.speakers.command import add_speakers

if TYPE_CHECKING:
    from ser.serving.bundle import Bundle, Score
    from ser.serving.prediction import Json, Prediction


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the commands. Ends with status 1 and one message after an error the user can mend, 130 when interrupted."""
    all_open()
    options = parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a bar, or a file's name, that the terminal's encoding cannot say
    try:
        with printed(status=0):
            status = options.run(options)
        sys.exit(status)
    except SerError as error:
        sys.exit(printable_lines(f"error: {error}"))
    except OSError as error:
        sys.exit(printable(f"error: {disk_error(error) or f'{error.filename}: {error.strerror} (name another place)'}"))
    except KeyboardInterrupt:
        sys.exit(130)


def parser() -> argparse.ArgumentParser:
    """The command line of ``ser``."""
    parser = argparse.ArgumentParser(prog="ser", description="Speech emotion recognition with a trained model.")
    parser.add_argument("--version", action="version", version=f"ser {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_predict(commands)
    listed = commands.add_parser(
        "bundles", help="the models there are", description="The models that ser predict can use, with their scores."
    )
    listed.set_defaults(run=_bundles)
    add_speakers(commands)
    add_listen(commands)
    add_serve(commands)
    return parser


def _add_predict(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    predict = commands.add_parser(
        "predict",
        help="emotions of recordings",
        description="Emotions of recordings of any length (wav, flac, ogg, opus, mp3, aiff; with ser[media] m4a, aac, mp4, webm, amr).",
    )
    predict.add_argument(
        "paths", nargs="+", metavar="FILE", help="recording, folder of recordings, pattern such as '*.wav', or - for stdin"
    )
    predict.add_argument(
        "--bundle",
        metavar="BUNDLE",
        help="model: a folder, a zip, https://…/bundle.zip#sha256=HEX, or a name of `ser bundles`; default: see there",
    )
    whose = predict.add_mutually_exclusive_group()
    whose.add_argument("--speaker", metavar="NAME", help="an enrolled speaker, see `ser enroll`")
    whose.add_argument(
        "--one-speaker",
        action="store_true",
        help="at least ten recordings of one speaker in varied moods: judge each relative to the others",
    )
    form = predict.add_mutually_exclusive_group()
    form.add_argument(
        "--csv",
        action="store_const",
        const="csv",
        dest="form",
        help="one line for each recording; a name that looks like a formula gets a ' in front",
    )
    form.add_argument("--json", action="store_const", const="json", dest="form", help="all facts, for programs")
    form.add_argument("--jsonl", action="store_const", const="jsonl", dest="form", help="one JSON object per line, as soon as it is ready")
    form.add_argument("--srt", action="store_const", const="srt", dest="form", help="with --timeline: subtitles")
    form.add_argument("--labels", action="store_const", const="labels", dest="form", help="with --timeline: a label track for Audacity")
    predict.add_argument("--top", type=whole(1, 1000), metavar="K", help="show the K most probable classes only")
    predict.add_argument("--min-confidence", type=probability, default=0.0, metavar="P", help="below this probability answer 'uncertain'")
    predict.add_argument("--max-minutes", type=number(0.001, 1e6), metavar="M", help="longest recording (default 600)")
    predict.add_argument("-j", "--jobs", type=whole(1, 1000), default=1, metavar="N", help="recordings judged at once (default 1)")
    predict.add_argument("--timeline", action="store_true", help="emotion over time, where there is speech")
    predict.add_argument("--window", type=number(0.001, 1e6), metavar="S", help="with --timeline: seconds judged at once (default 3)")
    predict.add_argument("--hop", type=number(0.001, 1e6), metavar="S", help="with --timeline: seconds between steps (default 0.5)")
    predict.add_argument(
        "--smooth", type=number(0, 60, "a number of seconds"), metavar="S", help="with --timeline: seconds averaged (default 1.5)"
    )
    predict.add_argument("--plot", metavar="FILE", help="with --timeline: a picture, .html, .svg or .png")
    predict.set_defaults(run=_predict)


def _bundles(options: argparse.Namespace) -> int:
    """List the bundles of exports/ and of the package."""
    from ser.serving import bundle as bundles
    from ser.serving import references

    default = None
    with contextlib.suppress(SerError):
        default = references.default(Path("exports"))
    for folder in [*references.exported(Path("exports")), *references.packaged()]:
        try:
            said = about(bundles.read(folder))
        except SerError as error:
            said = f"cannot be used: {error}"
        name = folder.name if folder.parent == references.PACKAGED else str(folder)
        print(printable(f"{name}{' (default)' if folder == default else ''}: {said}"))
    return 0


def _predict(options: argparse.Namespace) -> int:
    """Print predictions as they come; status 1 if a recording could not be judged."""
    from tqdm import tqdm

    from ser.serving import arguments, references
    from ser.serving.predict import Predictor
    from ser.serving.prediction import centred_on_speaker
    from ser.serving.speakers import store
    from ser.signal.stream import MINUTES

    if not options.timeline and (options.form in ("srt", "labels") or options.plot is not None):
        raise SerError("--srt, --labels and --plot show emotion over time: add --timeline")
    if options.timeline and options.one_speaker:
        raise SerError("--one-speaker compares whole recordings, --timeline cuts them: choose one of the two")
    paths = arguments.recordings(options.paths)
    folder = references.chosen(options.bundle)
    predictor = Predictor(folder, options.min_confidence, options.max_minutes or MINUTES)
    bundle = predictor.bundle
    said = f"{folder.name if folder.parent == references.PACKAGED else folder}: {about(bundle)}"
    print(printable(said), file=sys.stderr)
    if options.speaker is not None:
        predictor = predictor.knowing(store.read(options.speaker))
    if bundle.features.normalise == "speaker":
        print(f"features are normalised by speaker: the {len(paths)} recording(s) are taken as one speaker's", file=sys.stderr)
    if options.timeline:
        from ser.serving.timeline.command import timelines

        return timelines(predictor, paths, options, said)
    # where predictions go to the terminal they are the progress, unless each has to wait for all
    hidden = True if sys.stdout.isatty() and not options.one_speaker else None
    openings = ((path, functools.partial(arguments.opened, path)) for path in paths)
    judged = predictor.recordings(openings, options.jobs)
    predictions: Iterable[Prediction] = tqdm(judged, total=len(paths), unit="file", disable=hidden)
    if options.one_speaker:
        predictions = centred_on_speaker(list(predictions), predictor.standard().answer)
    found = list(_shown(predictions, options.form, bundle, sys.stdout, options.top))
    problems = [prediction for prediction in found if prediction.problem]
    for prediction in found:
        if prediction.damage:
            print(printable(f"warning: {prediction.path}: damaged: {prediction.damage}"), file=sys.stderr)
        for warning in prediction.warnings:
            print(printable(f"warning: {prediction.path}: unlike the training clips: {warning}"), file=sys.stderr)
    for prediction in problems:
        print(printable(f"error: {prediction.path or repr(prediction.path)}: {prediction.problem}"), file=sys.stderr)
    return 1 if problems else 0


def _shown(predictions: Iterable[Prediction], form: str | None, bundle: Bundle, out: TextIO, top: int | None) -> Iterable[Prediction]:
    """Pass the predictions on, each written to ``out`` in the form asked for: table, csv, json or jsonl."""
    from ser.serving.prediction import as_document, as_entry

    spelt_out = getattr(out, "encoding", "utf-8").lower().replace("-", "") != "utf8"  # JSON has escapes of its own for other letters
    entries: list[Json] = []
    if form == "csv":
        columns = ["path", "emotion", "seconds", "speech_seconds", "no_speech", "problem", "warnings"]
        out.write(csv_line([*columns, *(f"p_{name}" for name in bundle.classes)]))
    try:
        for prediction in predictions:
            if form == "json":
                entries.append(as_entry(prediction, top))
            elif form == "jsonl":
                out.write(json.dumps(as_entry(prediction, top), ensure_ascii=spelt_out) + "\n")
            elif form == "csv":
                out.write(csv_line(_row(prediction, bundle.classes)))
            elif not prediction.problem:
                out.write(_bars(prediction, top))
            out.flush()
            yield prediction
    finally:  # also after an interrupt, write the predictions made so far
        if form == "json":
            out.write(json.dumps(as_document(bundle, entries), indent=1, ensure_ascii=spelt_out) + "\n")
            out.flush()


def about(bundle: Bundle) -> str:
    """What a model is, its honest score and its limits, in one line."""
    what = "network(s)" if bundle.kind == "network" else "regression(s)"
    how = " fitted on all clips" if bundle.made == "refit" else ""
    parts = [f"{bundle.corpus}, {len(bundle.networks)} {what}{how}"]
    if bundle.encoder is not None:
        parts.append(f"encoder {bundle.encoder.name} ({bundle.encoder.licence})")
    if bundle.score is not None:
        sharing = "" if bundle.speaker_independent else ", test speakers heard in training"
        parts.append(f"UA {percent(bundle.score.ua)}%{_interval(bundle.score)} (protocol {bundle.protocol}{sharing})")
    if bundle.made == "refit":
        parts += ["expect less on recordings of another kind", f"licence {bundle.licence}"]
    return "; ".join([*parts, *([bundle.notice] if bundle.notice else [])])


def _interval(score: Score) -> str:
    return f" [{percent(score.ua_interval[0])}, {percent(score.ua_interval[1])}]" if score.ua_interval else ""


def _bars(prediction: Prediction, top: int | None) -> str:
    """The recording and its classes, most probable first, each with a bar."""
    hint = "  no speech found: all of it was judged" if prediction.no_speech else f", {prediction.speech_seconds:.1f} s kept"
    hint += "" if prediction.emotion in prediction.probabilities else f"  {prediction.emotion}"
    table = textwrap.indent(prediction.table(top), "  ")
    return "".join(f"{printable(line)}\n" for line in [f"{prediction.path}  {prediction.seconds:.1f} s{hint}", *table.split("\n")])


def _row(prediction: Prediction, classes: list[str]) -> list[str]:
    values = [f"{prediction.probabilities[name]:.6g}" if prediction.probabilities else "" for name in classes]
    seconds = [f"{value:.3f}" for value in (prediction.seconds, prediction.speech_seconds)]
    path, emotion, problem = map(no_formula, (prediction.path, prediction.emotion, prediction.problem))
    return [path, emotion, *seconds, str(prediction.no_speech).lower(), problem, "; ".join(prediction.cautions), *values]


if __name__ == "__main__":
    main()
