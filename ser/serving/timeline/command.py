"""``ser predict --timeline``: emotion over time in recordings, in the form that was asked for."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from ser import SerError
from ser.runtime.text import printable
from ser.serving import arguments
from ser.serving.predict import Predictor
from ser.serving.timeline.moments import HOP, SMOOTH, WINDOW, Timeline, timeline
from ser.serving.timeline.picture import draw
from ser.serving.timeline.text import as_csv, as_entry, as_labels, as_srt, as_table

ALONE: dict[str, Callable[[Timeline], str]] = {"srt": as_srt, "labels": as_labels}
"""Forms that hold one recording."""


def timelines(predictor: Predictor, paths: list[str], options: argparse.Namespace, about: str) -> int:
    """Print the timeline of each recording; 1 if one could not be judged, else 0.

    Raises:
        SerError: where the form or the picture takes one recording and there are more, or for a window or hop out of range.
    """
    if len(paths) > 1 and (options.form in ALONE or options.plot is not None):
        raise SerError(f"{'--plot' if options.plot is not None else '--' + options.form} takes one recording, and there are {len(paths)}")
    asked = zip((options.window, options.hop, options.smooth), (WINDOW, HOP, SMOOTH), strict=True)
    steps = [default if value is None else value for value, default in asked]
    entries, problems, written = [], 0, 0
    try:
        for path in tqdm(paths, unit="file", disable=None if len(paths) > 1 else True):
            try:
                with arguments.opened(path) as stream:
                    found = timeline(predictor, path, stream, *steps)
            except ValueError as error:
                raise SerError(f"--timeline: {error}") from None
            except (SerError, OSError) as error:  # also a model that fails on this one recording
                problems += 1
                said = str(error) if isinstance(error, SerError) else error.strerror or str(error)
                print(printable(f"error: {path or repr(path)}: {said}"), file=sys.stderr)
                continue
            if options.plot is not None:
                draw(found, Path(options.plot), about)
            if options.form == "json":
                entries.append(as_entry(found))
            elif options.form == "jsonl":
                sys.stdout.write(json.dumps(as_entry(found)) + "\n")
            elif options.form == "csv":
                sys.stdout.write(as_csv(found, header=written == 0))
            elif options.form in ALONE:
                sys.stdout.write(ALONE[options.form](found))
            else:
                sys.stdout.write(printable(f"{path}  {found.seconds:.1f} s") + "\n" + as_table(found))
            sys.stdout.flush()
            written += 1
    finally:  # also after an interrupt, write the timelines made so far
        if options.form == "json":
            sys.stdout.write(json.dumps({"timelines": entries}, indent=1) + "\n")
            sys.stdout.flush()
    return 1 if problems else 0
