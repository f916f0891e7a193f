"""The page as one document: its style, its script and what it says about the model, without anything that is fetched."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from dataclasses import dataclass
from importlib import resources

from ser.runtime.text import percent
from ser.serving.bundle import Bundle
from ser.serving.page.limits import Limits
from ser.serving.timeline.picture import COLOURS

SCRIPTS = ("draw.js", "record.js", "page.js")
"""In the order in which they run."""


@dataclass(frozen=True)
class Page:
    """The document, and the policy under which a browser shows it.

    Attributes:
        html: all of it.
        policy: Content-Security-Policy: this style and this script and no other; sound and pictures from the page itself; requests to its
            own server. ``blob:`` is the recorder's: the browser loads an audio worklet from an address only.
    """

    html: str
    policy: str

    @classmethod
    def of(cls, bundle: Bundle, limits: Limits) -> Page:
        """The page of a model."""
        style, script = _read("page.css"), "\n".join(_read(name) for name in SCRIPTS)
        facts = {
            "classes": bundle.classes,
            "colours": [COLOURS[number % len(COLOURS)] for number in range(len(bundle.classes))],
            "mostBytes": limits.most_bytes,
            "megabytes": limits.megabytes,
            "minutes": limits.minutes,
        }
        rows = "".join(f"<dt>{html.escape(term)}</dt><dd>{html.escape(said)}</dd>" for term, said in about(bundle, limits))
        parts = {
            "STYLE": style,
            "SCRIPT": script,
            "FACTS": json.dumps(facts).replace("<", "\\u003c"),
            "ABOUT": rows,
            "MODEL": html.escape(bundle.corpus),
            "NOTICE": f'<p class="notice"><strong>{html.escape(bundle.notice.capitalize())}.</strong></p>' if bundle.notice else "",
            "LIMITS": html.escape(f"at most {limits.megabytes:g} MB and {limits.minutes:g} minutes"),
        }
        document = _read("page.html")
        for name, text in parts.items():
            document = document.replace(f"<!--{name}-->", text)
        policy = (
            f"default-src 'none'; script-src '{_hash(script)}' blob:; style-src '{_hash(style)}'; img-src data: blob:; media-src blob:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return cls(document, policy)


def about(bundle: Bundle, limits: Limits) -> list[tuple[str, str]]:
    """What the model is, how good and how limited, as terms and what is said of them."""
    what = "network" if bundle.kind == "network" else "regression"
    count, plural = len(bundle.networks), "s" if len(bundle.networks) > 1 else ""
    rows = [("Model", f"{bundle.corpus}: {count} {what}{plural}{' fitted on all clips' if bundle.made == 'refit' else ''}")]
    if bundle.encoder is not None:
        rows.append(("Encoder", f"{bundle.encoder.name}, {bundle.encoder.licence}"))
    rows.append(("Emotions", ", ".join(bundle.classes)))
    if bundle.score is not None:
        score = bundle.score
        interval = f" [{percent(score.ua_interval[0])}, {percent(score.ua_interval[1])}]" if score.ua_interval else ""
        speakers = "new speakers" if bundle.speaker_independent else "speakers heard in training: too good for others"
        rows.append(
            ("Score", f"UA {percent(score.ua)} %{interval} on {score.clips:,} clips of {speakers}; chance {percent(score.chance_ua)} %")
        )
        rows.append(("Protocol", bundle.protocol))
    if bundle.worse:
        worse = ", ".join(f"{name.replace('_', ' ')} {percent(ua)} %" for name, ua in bundle.worse.items())
        rows.append(("UA on worse sound", worse))
    kind = "computer speech" if bundle.notice else "acted or collected for research, often in a studio and in one language"
    rows.append(
        ("Limits", f"It learned from one corpus ({kind}). Expect less on other recordings. It hears how something is said, not why.")
    )
    rows.append(("Licence", bundle.licence))
    rows.append(("Recordings", f"{limits.said()}; judged in memory, never kept"))
    return rows


def _read(name: str) -> str:
    return (resources.files("ser.serving.page") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
