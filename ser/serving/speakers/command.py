"""``ser enroll`` and ``ser speakers``: profiles of speakers, for ``--speaker``."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence

from ser import SerError
from ser.runtime.text import printable

EXPECT = (
    "expect: on new speakers of RAVDESS, the model that travels gained {gain}; "
    "less on everyday speech, and a loss where the clips are of one or two moods only (docs/predict.md)"
)
UNLABELLED = "1.2 points of UA from 8 clips without labels, and 2.9 from 30"
LABELLED = "5.2 points of UA from 8 labelled clips and 10.8 from 30"
"""Measured by ``benchmarks/speakers.py``."""


def add_speakers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the two commands to those of ``ser``."""
    enroll = commands.add_parser(
        "enroll",
        help="learn a speaker's voice from a few recordings",
        description="Make the profile of a speaker from a few recordings in all moods, for --speaker. The profile holds no audio. "
        "A recording in a folder that is named like a class has that label.",
    )
    needed = (
        enroll.add_argument("name", metavar="NAME", help="of the speaker: letters, digits, '.', '_' and '-'"),
        enroll.add_argument("paths", nargs="+", metavar="FILE", help="recording, folder of recordings, or pattern such as '*.wav'"),
    )
    enroll.add_argument("--bundle", metavar="BUNDLE", help="model, as of ser predict; a profile belongs to one model")
    known = enroll.add_mutually_exclusive_group()
    known.add_argument("--labels", metavar="CSV", help="table with the columns path and label, instead of folders")
    known.add_argument("--no-labels", action="store_true", help="take no labels from folders")
    enroll.add_argument("--remove", action=_Alone, needless=needed, metavar="NAME", help="remove a speaker's profile")
    enroll.set_defaults(run=_enroll)
    listed = commands.add_parser("speakers", help="the enrolled speakers", description="The enrolled speakers, and where they lie.")
    listed.set_defaults(run=_speakers)


class _Alone(argparse.Action):
    """An option with which positional arguments are not needed. ``nargs="*"`` would refuse those that come after another option."""

    def __init__(self, option_strings: Sequence[str], dest: str, needless: Sequence[argparse.Action], **how: str) -> None:
        super().__init__(option_strings, dest, metavar=how["metavar"], help=how["help"])
        self._needless = needless

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option_string: str | None = None
    ) -> None:
        """Keep the value."""
        setattr(namespace, self.dest, values)
        for action in self._needless:
            action.required = False


def _enroll(options: argparse.Namespace) -> int:
    """Make or remove a profile."""
    from ser.serving import arguments, references
    from ser.serving.predict import Predictor
    from ser.serving.speakers import store
    from ser.serving.speakers.enrolment import by_folder, by_table, enrolled

    if options.remove is not None:
        if options.name or options.labels or options.no_labels or options.bundle:
            raise SerError("--remove takes one name, and nothing else")
        print(printable(f"removed {store.remove(options.remove)}"))
        return 0
    name = store.checked(options.name)
    paths = list(dict.fromkeys(arguments.recordings(options.paths)))
    predictor = Predictor(references.chosen(options.bundle))
    labels = {} if options.no_labels else by_folder(paths, predictor.bundle.classes)
    if options.labels is not None:
        labels = by_table(options.labels, paths)
    found = enrolled(predictor, ((path, functools.partial(arguments.opened, path), labels.get(path)) for path in paths))
    replaced = name in store.listed()
    path = store.write(name, found.profile)
    for recording, why in found.unusable:
        print(printable(f"unusable: {recording or repr(recording)}: {why}"), file=sys.stderr)
    for kind, count in found.warnings.items():
        print(f"warning: {count} recording(s) unlike the training clips: {kind}", file=sys.stderr)
    profile = found.profile
    if profile.labelled and (absent := [one for one in profile.classes if one not in profile.labelled]):
        print(f"no labelled recording of: {', '.join(absent)}", file=sys.stderr)
    said = ", ".join(f"{label} {count}" for label, count in profile.labelled.items())
    how = f"{sum(profile.labelled.values())} with a label ({said})" if said else "none with a label"
    print(printable(f"{name}: {profile.clips} of {len(paths)} recordings used, {how}; {len(found.unusable)} unusable"))
    print(EXPECT.format(gain=LABELLED if profile.labelled else UNLABELLED))
    print(printable(f"{'replaced' if replaced else 'written'}: {path}; use it with --speaker {name}"))
    return 0


def _speakers(options: argparse.Namespace) -> int:
    """List the enrolled speakers."""
    from ser.serving.speakers import store

    names = store.listed()
    for name in names:
        try:
            profile = store.read(name)
            said = f"{profile.clips} recordings, {sum(profile.labelled.values())} with a label, for the model of {profile.corpus}"
        except SerError as error:
            said = f"cannot be used: {error}"
        print(printable(f"{name}: {said}"))
    print(printable(f"{len(names)} speaker(s) in {store.folder()}"), file=sys.stderr)
    return 0
