"""A timeline as text: a table for people, and the formats of spreadsheets, subtitles, Audacity and programs."""

from __future__ import annotations

from ser.runtime.text import csv_line, no_formula, percent
from ser.serving.timeline.moments import Timeline

Json = dict[str, object]


def as_table(found: Timeline) -> str:
    """Stretches of one emotion, a line each."""
    rows = [(f"{_clock(one.start)}–{_clock(one.end)}", one.emotion, f"{percent(one.probability)}%") for one in found.stretches()]
    if not rows:
        return "  no speech found\n"
    wide = [max(len(row[column]) for row in rows) for column in range(3)]
    return "".join(f"  {span:>{wide[0]}}  {emotion:<{wide[1]}}  {share:>{wide[2]}}\n" for span, emotion, share in rows)


def as_csv(found: Timeline, header: bool = True) -> str:
    """One row for each moment, with its probabilities; those without speech have none."""
    lines = [csv_line(["path", "start", "end", "emotion", *(f"p_{name}" for name in found.classes)])] if header else []
    for moment in found.moments:
        shares = [f"{moment.probabilities[name]:.6g}" if moment.probabilities else "" for name in found.classes]
        lines.append(csv_line([no_formula(found.path), f"{moment.start:.3f}", f"{moment.end:.3f}", moment.emotion, *shares]))
    return "".join(lines)


def as_srt(found: Timeline) -> str:
    """Subtitles: a block for each stretch (SubRip)."""
    blocks = (
        f"{number}\n{_srt_time(one.start)} --> {_srt_time(one.end)}\n{one.emotion} {percent(one.probability, 0)}%\n"
        for number, one in enumerate(found.stretches(), 1)
    )
    return "\n".join(blocks)


def as_labels(found: Timeline) -> str:
    """A label track for Audacity: start, end and emotion of each stretch, with tabs between them."""
    return "".join(f"{one.start:.6f}\t{one.end:.6f}\t{one.emotion}\n" for one in found.stretches())


def as_entry(found: Timeline) -> Json:
    """All of it as plain values, for JSON."""
    return {
        "path": found.path,
        "seconds": round(found.seconds, 3),
        "window": found.window,
        "hop": found.hop,
        "smooth": found.smooth,
        "classes": list(found.classes),
        "speech": [[round(start, 3), round(end, 3)] for start, end in found.speech],
        "stretches": [
            {"start": round(one.start, 3), "end": round(one.end, 3), "emotion": one.emotion, "probability": round(one.probability, 6)}
            for one in found.stretches()
        ],
        "moments": [
            {
                "start": round(one.start, 3),
                "end": round(one.end, 3),
                "emotion": one.emotion or None,
                "probabilities": {name: round(p, 6) for name, p in one.probabilities.items()},
            }
            for one in found.moments
        ],
    }


def _clock(seconds: float) -> str:
    tenths = round(10 * seconds)
    hours, rest = divmod(tenths, 36_000)
    minutes, rest = divmod(rest, 600)
    return f"{f'{hours}:' if hours else ''}{minutes:02d}:{rest // 10:02d}.{rest % 10}"


def _srt_time(seconds: float) -> str:
    millis = round(1000 * seconds)
    return f"{millis // 3_600_000:02d}:{millis // 60_000 % 60:02d}:{millis // 1000 % 60:02d},{millis % 1000:03d}"
