"""The command ``ser``: what a trained model does for its user."""

from __future__ import annotations

import argparse
import csv
import functools
import io
import json
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ser import SerError, __version__
from ser.runtime.text import percent

if TYPE_CHECKING:
    from ser.serving.bundle import Bundle
    from ser.serving.prediction import Prediction


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the commands. Ends with status 1 and one message after an error the user can mend, 130 when interrupted."""
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a bar, or a file's name, that the terminal's encoding cannot say
    try:
        sys.exit(options.run(options))
    except SerError as error:
        sys.exit("error: " + "\n".join(map(_printable, str(error).split("\n"))))
    except BrokenPipeError:  # `ser predict … | head`
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        if error.filename is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python writes what is left when it ends, and would fail again
        sys.exit(f"error: standard output cannot be written: {error.strerror}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ser", description="Speech emotion recognition with a trained model.")
    parser.add_argument("--version", action="version", version=f"ser {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    predict = commands.add_parser(
        "predict", help="emotions of recordings", description="Emotions of recordings (wav, flac, ogg, opus, mp3, aiff)."
    )
    predict.add_argument("paths", nargs="+", metavar="FILE", help="recording, folder of recordings, or - for standard input")
    predict.add_argument("--bundle", metavar="FOLDER", help="exported model; default: the one in exports/")
    predict.add_argument(
        "--one-speaker",
        action="store_true",
        help="the recordings, ten or more, are of one speaker in all kinds of moods: judge each by how it differs from the others",
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
    form.add_argument("--jsonl", action="store_const", const="jsonl", dest="form", help="one JSON object a line, as soon as it is known")
    predict.set_defaults(run=_predict)
    return parser


def _predict(options: argparse.Namespace) -> int:
    """Print predictions as they come; status 1 if a recording could not be judged."""
    from tqdm import tqdm

    from ser.serving import arguments, references
    from ser.serving.predict import Predictor
    from ser.serving.prediction import centred_on_speaker

    paths = arguments.recordings(options.paths)
    folder = references.default(Path("exports")) if options.bundle is None else references.opened(options.bundle)
    predictor = Predictor(folder)
    bundle = predictor.bundle
    print(_printable(f"{folder}: {_about(bundle)}"), file=sys.stderr)
    if bundle.features.normalise == "speaker":
        print(f"features are normalised by speaker: the {len(paths)} recording(s) are taken as one speaker's", file=sys.stderr)
    # where predictions go to the terminal they are the progress, unless each has to wait for all
    hidden = True if sys.stdout.isatty() and not options.one_speaker else None
    contents = ((path, functools.partial(arguments.content, path)) for path in paths)
    predictions: Iterable[Prediction] = tqdm(predictor.recordings(contents), total=len(paths), unit="clip", disable=hidden)
    if options.one_speaker:
        predictions = centred_on_speaker(list(predictions))
    found = list(_shown(predictions, options.form, bundle, sys.stdout))
    problems = [prediction for prediction in found if prediction.problem]
    for prediction in problems:
        print(_printable(f"error: {prediction.path or repr(prediction.path)}: {prediction.problem}"), file=sys.stderr)
    return 1 if problems else 0


def _shown(predictions: Iterable[Prediction], form: str | None, bundle: Bundle, out: TextIO) -> Iterable[Prediction]:
    """Pass the predictions on, each written to ``out`` in the form asked for: table, csv, json or jsonl."""
    spelt_out = getattr(out, "encoding", "utf-8").lower().replace("-", "") != "utf8"  # JSON has escapes of its own for other letters
    entries: list[dict[str, Any]] = []
    table = csv.writer(out, lineterminator="\n")
    if form == "csv":
        table.writerow(["path", "emotion", "seconds", "speech_seconds", "no_speech", "problem", *(f"p_{name}" for name in bundle.classes)])
    try:
        for prediction in predictions:
            if form == "json":
                entries.append(_entry(prediction))
            elif form == "jsonl":
                out.write(json.dumps(_entry(prediction), ensure_ascii=spelt_out) + "\n")
            elif form == "csv":
                table.writerow(_row(prediction, bundle.classes))
            elif not prediction.problem:
                out.write(_bars(prediction))
            out.flush()
            yield prediction
    finally:  # after an interrupt, too, what was judged is told
        if form == "json":
            about = {"corpus": bundle.corpus, "notice": bundle.notice, "protocol": bundle.protocol, "normalise": bundle.features.normalise}
            out.write(json.dumps({"bundle": about, "predictions": entries}, indent=1, ensure_ascii=spelt_out) + "\n")
            out.flush()


def _about(bundle: Bundle) -> str:
    what = "network(s)" if bundle.kind == "network" else "regression(s)"
    parts = [f"{bundle.corpus}, {len(bundle.networks)} {what}"]
    if bundle.encoder is not None:
        parts.append(f"encoder {bundle.encoder.name} ({bundle.encoder.licence})")
    if bundle.score is not None:
        sharing = "" if bundle.speaker_independent else ", test speakers heard in training"
        parts.append(f"UA {percent(bundle.score.ua)}% (protocol {bundle.protocol}{sharing})")
    return "; ".join([*parts, *([bundle.notice] if bundle.notice else [])])


def _bars(prediction: Prediction) -> str:
    """The recording and its classes, most probable first, each with a bar."""
    hint = "  no speech found: all of it was judged" if prediction.no_speech else f", {prediction.speech_seconds:.1f} s kept"
    table = textwrap.indent(prediction.table(), "  ")
    return "".join(f"{_printable(line)}\n" for line in [f"{prediction.path}  {prediction.seconds:.1f} s{hint}", *table.split("\n")])


def _printable(text: str) -> str:
    """The text with its control characters written out, so that a file's name cannot command the terminal."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _no_formula(cell: str) -> str:
    """The cell, with a ``'`` in front where a spreadsheet would take it for a formula."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _row(prediction: Prediction, classes: list[str]) -> list[str]:
    values = [f"{prediction.probabilities[name]:.6g}" if prediction.probabilities else "" for name in classes]
    seconds = [f"{value:.3f}" for value in (prediction.seconds, prediction.speech_seconds)]
    path, emotion, problem = map(_no_formula, (prediction.path, prediction.emotion, prediction.problem))
    return [path, emotion, *seconds, str(prediction.no_speech).lower(), problem, *values]


def _entry(prediction: Prediction) -> dict[str, Any]:
    return {
        "path": prediction.path,
        "emotion": prediction.emotion or None,
        "probabilities": {name: round(p, 6) for name, p in prediction.probabilities.items()},
        "seconds": round(prediction.seconds, 3),
        "speech_seconds": round(prediction.speech_seconds, 3),
        "no_speech": prediction.no_speech,
        "problem": prediction.problem or None,
    }


if __name__ == "__main__":
    main()
