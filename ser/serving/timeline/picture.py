"""A timeline as a picture: waveform, speech, and emotion over time. SVG in one self-contained page, or PNG by matplotlib ([lab])."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

from ser import SerError
from ser.runtime.disk import file_written_whole
from ser.runtime.text import percent, printable

if TYPE_CHECKING:
    from ser.serving.timeline.moments import Timeline

COLOURS = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb",
    "#ee8866", "#44bb99", "#99ddff", "#aaaa00", "#77aadd", "#ddaa33",
)  # fmt: skip
"""Paul Tol's bright and light schemes, which people with colour blindness can tell apart."""
WIDTH, WAVE, SPEECH, EMOTION, LEFT = 1000, 120, 14, 260, 60
MOST_POINTS = 2000
"""Of the waveform and of each emotion; more could not be seen."""

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>:root{{color-scheme:light dark}}body{{font:14px system-ui,sans-serif;margin:1.5rem}}svg{{width:100%;height:auto}}
svg text{{fill:currentColor;font:12px system-ui,sans-serif}}.line{{stroke:currentColor;opacity:.35}}
.key{{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 1em}}</style>
<h1>{title}</h1>{svg}<p>{key}</p><p>{about}</p></html>
"""


def draw(found: Timeline, path: Path, about: str) -> None:
    """Write the picture.

    Args:
        found: the timeline.
        path: ``….html``, ``….svg`` or ``….png``.
        about: which model it is, in one line.

    Raises:
        SerError: for another suffix, a folder that is not there, or where a PNG is asked for without matplotlib.
    """
    suffix = path.suffix.lower()
    if suffix not in (".html", ".svg", ".png"):
        raise SerError(f"--plot {path}: the name must end in .html, .svg or .png")
    if not path.absolute().parent.is_dir():
        raise SerError(f"--plot {path}: there is no folder {path.parent}")
    with file_written_whole(path) as part:
        if suffix == ".png":
            _png(found, part)
        else:
            part.write_text(_page(found, about) if suffix == ".html" else svg(found), encoding="utf-8")


def svg(found: Timeline) -> str:
    """The picture as SVG; its text takes the colour of the page."""
    scale = WIDTH / max(found.seconds, 1e-3)
    parts = [_wave(found), *_speech(found, scale), *_shares(found, scale), *_axis(found, scale)]
    height = WAVE + SPEECH + EMOTION + 40
    label = html.escape(f"Emotion over time: {', '.join(f'{one.emotion} from {one.start:.1f} s' for one in found.stretches()[:20])}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 20} {height}" role="img" aria-label="{label}">'
        + "".join(parts)
        + "</svg>"
    )


def _page(found: Timeline, about: str) -> str:
    key = "".join(
        f'<span class="key" style="background:{_colour(number)}"></span>{html.escape(name)}' for number, name in enumerate(found.classes)
    )
    return PAGE.format(title=html.escape(printable(found.path) or "samples"), svg=svg(found), key=key, about=html.escape(printable(about)))


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _thinned(count: int) -> range:
    return range(0, count, max(1, count // MOST_POINTS))


def _wave(found: Timeline) -> str:
    loudest = max(found.peaks, default=0.0) or 1.0
    step = _thinned(len(found.peaks)).step
    heights = [max(found.peaks[at : at + step]) / loudest * WAVE / 2 for at in _thinned(len(found.peaks))]
    xs = [LEFT + (place + 0.5) * WIDTH / len(heights) for place in range(len(heights))]
    upper = [f"{x:.1f},{WAVE / 2 - y:.1f}" for x, y in zip(xs, heights, strict=True)]
    lower = [f"{x:.1f},{WAVE / 2 + y:.1f}" for x, y in zip(xs, heights, strict=True)]
    return f'<polygon points="{" ".join(upper + lower[::-1])}" fill="#888"/><text x="4" y="{WAVE / 2}">sound</text>'


def _speech(found: Timeline, scale: float) -> list[str]:
    bars = [
        f'<rect x="{LEFT + start * scale:.1f}" y="{WAVE}" width="{max(0.5, (end - start) * scale):.1f}" height="{SPEECH - 4}" '
        'fill="#4477aa"/>'
        for start, end in found.speech
    ]
    return [*bars, f'<text x="4" y="{WAVE + SPEECH - 4}">speech</text>']


def _shares(found: Timeline, scale: float) -> list[str]:
    """Probabilities, stacked, as bars one hop wide."""
    top, drawn = WAVE + SPEECH, []
    for at in _thinned(len(found.moments)):
        moment, y = found.moments[at], float(top + EMOTION)
        width = max(0.5, (moment.end - moment.start) * scale * _thinned(len(found.moments)).step)
        for number, name in enumerate(found.classes):
            tall = moment.probabilities.get(name, 0.0) * EMOTION
            y -= tall
            if tall >= 0.5:
                drawn.append(
                    f'<rect x="{LEFT + moment.start * scale:.1f}" y="{y:.1f}" width="{width:.2f}" height="{tall:.1f}" '
                    f'fill="{_colour(number)}"><title>{html.escape(name)} {percent(moment.probabilities[name], 0)} %</title></rect>'
                )
    return [*drawn, f'<text x="4" y="{top + EMOTION / 2}">emotion</text>']


def _axis(found: Timeline, scale: float) -> list[str]:
    bottom = WAVE + SPEECH + EMOTION
    step = next((size for size in (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800) if found.seconds / size <= 12), 3600)
    marks = [number * step for number in range(int(found.seconds / step) + 1)]
    lines = [f'<line class="line" x1="{LEFT}" y1="{bottom}" x2="{LEFT + WIDTH}" y2="{bottom}"/>']
    return lines + [f'<text x="{LEFT + mark * scale:.1f}" y="{bottom + 18}">{mark:g} s</text>' for mark in marks]


def _png(found: Timeline, path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise SerError("--plot: a PNG needs matplotlib: pip install 'ser[lab]', or name a .html, which needs nothing") from None
    figure = Figure(figsize=(11, 5), layout="constrained")
    wave, emotion = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    times = [(place + 0.5) * found.seconds / len(found.peaks) for place in range(len(found.peaks))]
    wave.fill_between(times, [-one for one in found.peaks], found.peaks, color="#888888")
    for start, end in found.speech:
        wave.axvspan(start, end, color="#4477aa", alpha=0.15)
    wave.set_ylabel("sound; speech in blue")
    middles = [(one.start + one.end) / 2 for one in found.moments]
    for number, name in enumerate(found.classes):
        shares = [one.probabilities.get(name, float("nan")) for one in found.moments]
        emotion.plot(middles, shares, color=_colour(number), label=name)
    emotion.set(xlabel="time in s", ylabel="probability", ylim=(0, 1), xlim=(0, found.seconds))
    emotion.legend(ncols=4, fontsize="small")
    figure.savefig(path, format="png", dpi=110)
