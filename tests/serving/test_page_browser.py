"""The page in headless Chromium, used as a person uses it: with the mouse, with the keyboard alone, and with a microphone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile as sf

from ser.serving.page.limits import Limits
from tests.browser import chromium
from tests.devtools import Tab, tab
from tests.serving import small
from tests.serving.served import Served, served

NAMED = "<img src=x onerror=alert(1)> ä.wav"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle made by hand, where there is a browser."""
    chromium()
    return small.write(tmp_path_factory.mktemp("bundle") / "made", attention=["cnn", "transformer"])


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Served]:
    with served(folder, Limits(megabytes=1, minutes=0.2)) as running:
        yield running


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings, good ones and others."""
    folder = tmp_path_factory.mktemp("sounds")
    for name, seconds in ((NAMED, 4), ("voice.wav", 4), ("long.wav", 15), ("large.wav", 40)):
        sf.write(folder / name, small.sound(seconds), 16_000)
    (folder / "notes.txt").write_text("no recording\n" * 99)
    return folder


@pytest.fixture(scope="module")
def person(page: Served, sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A browser whose microphone hears a recording, again and again."""
    microphone = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with tab(tmp_path_factory.mktemp("browser"), [*microphone, f"--use-file-for-fake-audio-capture={sounds / 'voice.wav'}"]) as found:
        yield found


def text(person: Tab, identity: str) -> str:
    return str(person.value(f"document.getElementById({identity!r}).textContent"))


def drawn(person: Tab) -> list[float]:
    """Width of each picture, in pixels."""
    found = person.value("['wave', 'shares', 'mel', 'axis'].map(id => document.getElementById(id).getBoundingClientRect().width)")
    assert isinstance(found, list)
    return found


RESULT = "!document.getElementById('result').hidden && document.getElementById('busy').hidden"
PROBLEM = "document.getElementById('error').textContent && document.getElementById('busy').hidden"


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_a_chosen_file_is_shown_judged(person, page, sounds, width, dark):
    person.open(page.address, width, dark=dark)
    person.choose("#file", sounds / NAMED)
    person.wait(RESULT)
    assert text(person, "name") == NAMED
    assert text(person, "emotion") in small.CLASSES
    assert person.value("[...document.querySelectorAll('#bars dt')].map(one => one.textContent).sort()") == sorted(small.CLASSES)
    assert text(person, "status").startswith(f"{NAMED}: {text(person, 'emotion')}, ")
    assert min(drawn(person)) > 0.75 * width
    assert person.value("document.querySelectorAll('#wave .mark').length") >= 3
    assert person.value("document.querySelector('#wave').getAttribute('aria-label')").startswith("Waveform of 4.0 s; speech from ")
    assert person.value("document.querySelectorAll('#shares rect').length") >= 5
    assert person.value("document.querySelectorAll('#stretches tr').length") >= 1
    colours = "new Set(document.getElementById('mel').getContext('2d').getImageData(0, 0, 200, 64).data).size"
    assert person.value(colours) > 20
    assert person.value("document.querySelectorAll('#attention .looked').length") == 2
    assert "cnn (solid), transformer (dashed)" in text(person, "looked")
    assert person.value("document.querySelector('#attention').getAttribute('aria-label')").startswith("Attention over time: cnn most at ")
    assert person.value("document.documentElement.scrollWidth") <= width
    assert person.value("document.activeElement.id") == "answer"
    assert person.complaints == []


def test_what_the_microphone_hears_is_judged(person, page):
    person.open(page.address)
    person.click("#record")
    person.wait("parseFloat(document.getElementById('clock').textContent) > 2")
    assert text(person, "record-words") == "Stop"
    assert person.value("parseFloat(document.getElementById('level').style.width)") > 0
    person.click("#record")
    person.wait(RESULT)
    assert text(person, "name") == "microphone.wav"
    assert text(person, "emotion") in small.CLASSES
    assert person.value("shown.timeline.speech.length") >= 1
    assert person.value("shown.predictions[0].seconds") > 2
    assert text(person, "record-words") == "Record"
    assert person.complaints == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("notes.txt", "notes.txt: format not recognised, or damaged at its beginning"),
        ("long.wav", "long.wav: longer than the 0.2 minutes that are read"),
        ("large.wav", "large.wav has 1.3 MB, and at most 1 MB are read"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_words(person, page, sounds, name, words):
    person.open(page.address)
    person.choose("#file", sounds / name)
    person.wait(PROBLEM)
    assert text(person, "error").startswith(words)
    assert person.value("document.getElementById('error').getAttribute('role')") == "alert"
    assert person.value("document.getElementById('result').hidden")
    assert not person.value("document.getElementById('record').disabled")
    person.complaints.clear()  # the browser notes the status of the refusal


def test_the_keyboard_is_enough(person, page):
    person.open(page.address)
    seen = []
    for _ in range(4):
        person.press("Tab")
        seen.append(person.value("document.activeElement.id || document.activeElement.textContent"))
        marked = "document.activeElement.nextElementSibling" if seen[-1] == "file" else "document.activeElement"
        assert person.value(f"getComputedStyle({marked}).outlineStyle") == "solid"
    assert seen == ["how good it is", "record", "file", "api"]
    person.open(page.address)
    person.press("Tab")
    person.press("Tab")
    person.press("Space")
    person.wait("parseFloat(document.getElementById('clock').textContent) > 1.2")
    person.press("Enter")
    person.wait(RESULT)
    assert person.complaints == []


def test_without_the_server_it_says_so(person, folder, sounds):
    with served(folder, Limits(jobs=0)) as gone:
        person.open(gone.address)
    person.choose("#file", sounds / "voice.wav")
    person.wait(PROBLEM)
    assert "the server cannot be reached" in text(person, "error")
    person.complaints.clear()


def test_a_token_in_the_address_is_used_and_hidden(person, folder, sounds):
    with served(folder, Limits(), "abcdefghijkl") as guarded:
        person.open(f"{guarded.address}/?token=abcdefghijkl")
        person.choose("#file", sounds / "voice.wav")
        person.wait(RESULT)
        assert person.value("location.search") == ""
    assert person.complaints == []
