"""``summary.json`` of a clip store: what was kept and rejected, and how much voice activity detection removed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from ser.params.corpora import Corpus
from ser.params.preprocess import Preprocess
from ser.runtime.reading import read_json


def summarise(
    name: str, corpus: Corpus, raw: Path, rows: list[dict[str, Any]], left_out: list[tuple[str, str, str]], settings: Preprocess
) -> dict[str, Any]:
    """Content of ``summary.json``: kept and rejected recordings, and how much VAD removed, by group."""
    source = read_json(raw / "source.json", "download", name, ["edition"])
    reasons = Counter(reason for _, reason, _ in left_out)
    return {
        "corpus": name,
        "edition": source["edition"],
        "label_edition": corpus.labels.edition,
        "files_found": len(rows) + len(left_out),
        "kept": len(rows),
        "rejected": dict(sorted(reasons.items())),
        "sample_rate": settings.sample_rate,
        "vad": {
            "method": settings.vad.method,
            "keep": settings.vad.keep,
            "all": _removed(rows),
            "by_emotion": _removed_by("emotion", rows),
            "by_channel": _removed_by("channel", rows),
        },
    }


def _removed_by(column: str, rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    values = sorted({row[column] for row in rows})
    return {value or "unknown": _removed([row for row in rows if row[column] == value]) for value in values}


def _removed(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Clips, their seconds before VAD, the share that VAD removed, and the number of clips without speech."""
    seconds = sum(row["source_seconds"] for row in rows)
    removed = sum(row["source_seconds"] * row["removed"] for row in rows)
    return {
        "clips": len(rows),
        "source_seconds": round(seconds, 3),
        "removed": round(removed / seconds, 6) if rows else 0.0,
        "no_speech": sum(row["no_speech"] for row in rows),
    }
