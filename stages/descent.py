"""What the files of a stage were made of: noted beside them, and compared before another stage reads them.

Checksums alone say that features and networks are whole, not that the networks were trained on these features. Somebody who runs stages by
hand may forget one between two others. Like the checksums, the notes are no outputs: DVC compares in its own way, and files that it
brought back have no note here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser import SerError
from ser.params import Params, plain
from ser.runtime.disk import file_written_whole
from ser.runtime.files import OF_ANOTHER_FORM, text
from stages.changes import by_key

PIPELINE = Path("dvc.yaml")
MOST = 1 << 20
"""Bytes that a note may have."""
USES_PARAMS = ("train", "search")
"""Commands that take the parameters of earlier stages from params.yaml, and not from what a training wrote down."""


def digest(record: Path) -> str:
    """Of the checksums of a stage's files; the same files have the same."""
    return _digest(record.read_text(encoding="utf-8"))


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def note(record: Path, content: str, stage: str, corpus: str, params: Params, seen: Mapping[str, str]) -> None:
    """Write down what a stage has read, before the checksums of its files are written: a note is believed of these checksums alone.

    Args:
        record: where the checksums will be; the note is written beside it.
        content: the checksums.
        stage: its name.
        corpus: its corpus.
        params: as it has read them.
        seen: digest of each stage whose files it has read; stages whose files DVC brought back are left out.
    """
    made_of = {"for": _digest(content), "of": dict(seen)}
    if (values := _values(params, stage, corpus)) is not None:
        made_of["params"] = values
    record.parent.mkdir(parents=True, exist_ok=True)
    with file_written_whole(beside(record)) as part:
        part.write_text(json.dumps(made_of, indent=1) + "\n", encoding="utf-8")


def compare(reader: str, corpus: str, params: Params, records: Mapping[str, Path], seen: Mapping[str, str]) -> None:
    """Refuse files that do not descend from one another, or were made with other parameters than those of this run.

    Args:
        reader: the stage that is about to read.
        corpus: its corpus.
        params: of this run.
        records: of the stages whose files it reads.
        seen: digest of each of them whose files are as it left them.

    Raises:
        SerError: naming the stage to run again.
    """
    for writer in (writer for writer in records if writer in seen):
        told = _told(beside(records[writer]), seen[writer])
        again = f"run `dvc repro {writer}@{corpus}`, or by hand python -m stages.{writer} --dataset {corpus}"
        for source, then in told.get("of", {}).items():
            if seen.get(source, then) != then:
                raise SerError(f"what {writer} left of {corpus} was made of other files than those that {source} has left since: {again}")
        noted, now = told.get("params"), _values(params, writer, corpus)
        if reader in USES_PARAMS and noted is not None and now is not None:
            for key in sorted(noted.keys() | now.keys()):
                if noted.get(key) != now.get(key):
                    then_and_now = f"{key} = {json.dumps(noted.get(key))}, and params.yaml says {json.dumps(now.get(key))}"
                    raise SerError(f"what {writer} left of {corpus} was made with {then_and_now}: {again}")


def beside(record: Path) -> Path:
    """Where the note lies."""
    return record.with_name(f"{record.stem}.of.json")


def _values(params: Params, stage: str, corpus: str) -> dict[str, Any] | None:
    """The parameters that dvc.yaml tracks for a stage, by dotted key; None where no dvc.yaml says which these are."""
    try:
        tracked = plain(PIPELINE, str(PIPELINE))["stages"][stage].get("params", [])
    except (FileNotFoundError, SerError, KeyError, TypeError, AttributeError):
        return None
    keys = [str(key).replace("${item.dataset}", corpus) for key in tracked]
    values = by_key(params.model_dump(mode="json"))
    return {key: value for key, value in values.items() if any(key == one or key.startswith(f"{one}.") for one in keys)}


def _told(path: Path, of: str) -> dict[str, Any]:
    """The note beside checksums with this digest; empty where there is none, or a damaged one, or one of other checksums."""
    try:
        told = json.loads(text(path, MOST))
        whole = told["for"] == of and isinstance(told["of"], dict) and isinstance(told.get("params", {}), dict)
    except (SerError, OSError, KeyError, TypeError, *OF_ANOTHER_FORM):
        return {}
    return told if whole else {}
