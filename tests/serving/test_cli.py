"""The command ``ser predict`` on what people and programs really hand it: one bad name never loses the answers of the others."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from ser.serving import arguments, cli
from tests.serving import small

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle and two recordings."""
    folder = tmp_path_factory.mktemp("place")
    small.write(folder / "exports/made")
    for number, name in enumerate(["a.wav", "b.wav"]):
        tone = 0.3 * np.sin(np.arange(16000) * (0.1 + 0.2 * number))
        sf.write(folder / name, tone, 16000)
    return folder


def ser(place: Path, *given: str | bytes, out: int = subprocess.PIPE, stdin: bytes = b"", **environment: str):
    return subprocess.run(
        [sys.executable, "-m", "ser.serving.cli", "predict", *given], cwd=place, stdout=out, stderr=subprocess.PIPE, timeout=120,
        input=stdin, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


def test_what_is_no_regular_file_is_named_and_the_rest_is_judged(place, tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    long, control = "x" * 300, "esc\x1b]0;\nowned\x07.wav"
    (tmp_path / "empty").mkdir()
    done = ser(place, "a.wav", str(tmp_path / "pipe.wav"), "/dev/zero", long, "", control, str(tmp_path / "empty"), "b.wav", "--jsonl")
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    problems = {entry["path"]: entry["problem"] for entry in entries if entry["problem"]}
    assert [entry["path"] for entry in entries if entry["emotion"]] == ["a.wav", "b.wav"]
    assert list(problems) == [str(tmp_path / "pipe.wav"), "/dev/zero", long, "", control, str(tmp_path / "empty")]
    said = ["no regular file", "no regular file", "File name too long", "an empty name", "no such file or folder", "no recording in this"]
    assert all(text in problem for text, problem in zip(said, problems.values(), strict=True))
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"\x1b" not in done.stderr
    assert b"esc\\x1b]0;\\nowned\\x07.wav" in done.stderr


def test_a_pattern_does_not_follow_links_in_circles(place, tmp_path, monkeypatch):
    """Each link to its own folder would double the folders at each level."""
    (tmp_path / "deep/er").mkdir(parents=True)
    for name in "abc":
        (tmp_path / name).symlink_to(".")
    for name in ("one.wav", "deep/two.wav", "deep/er/[3].wav", ".hidden.wav"):
        shutil.copy(place / "a.wav", tmp_path / name)
    (tmp_path / "elsewhere").symlink_to(tmp_path / "deep")
    every = ["deep/er/[3].wav", "deep/two.wav", "one.wav"]
    for above in ("", f"{tmp_path}/"):
        for pattern, found in (
            ("**/*.wav", every),
            ("**/**/*.wav", every),
            ("deep/**/[[]3].wav", ["deep/er/[3].wav"]),
            ("**/er/**/*", ["deep/er/[3].wav"]),
            ("elsewhere/**/t*.wav", ["elsewhere/two.wav"]),
            ("[de]*/two.wav", ["deep/two.wav", "elsewhere/two.wav"]),
            ("**/three.wav", ["**/three.wav"]),
        ):
            monkeypatch.chdir(tmp_path)
            assert arguments.recordings([above + pattern, "one.wav"]) == [*(above + one for one in found), "one.wav"]
    assert arguments.recordings([str(tmp_path)]) == [f"{tmp_path}/{one}" for one in every]


def test_a_folder_deeper_than_python_recurses_is_searched(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        os.mkdir("d")
        os.chdir("d")
    shutil.copy(place / "a.wav", "a.wav")
    os.chdir(tmp_path)
    try:
        expected = ["d/" * 1200 + "a.wav"]
        assert arguments.recordings(["."]) == expected
        assert arguments.recordings(["**/*.wav"]) == expected
    finally:  # pytest, too, recurses when it clears away
        subprocess.run(["rm", "-r", "d"], check=True)


def test_a_folder_is_searched_for_all_formats_that_can_be_read(place, tmp_path):
    for name in ("a.wav", "b.M4A", "c.webm", "d.txt", "e.mp4", ".f.m4a"):
        (tmp_path / name).write_bytes((place / "a.wav").read_bytes())
    assert [Path(path).name for path in arguments.recordings([str(tmp_path)])] == ["a.wav", "b.M4A", "c.webm", "e.mp4"]


def test_a_recording_comes_from_standard_input(place):
    done = ser(place, "-", "--json", stdin=(place / "b.wav").read_bytes())
    (piped,) = json.loads(done.stdout)["predictions"]
    (named,) = json.loads(ser(place, "b.wav", "--json").stdout)["predictions"]
    assert {**piped, "path": "b.wav"} == named


def test_more_than_can_be_a_recording_is_not_read(monkeypatch):
    monkeypatch.setattr(arguments, "MOST", 1000)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(bytes(5000))))
    with pytest.raises(OSError, match="more than 1,000 bytes"):
        arguments.opened("-")
    assert sys.stdin.buffer.tell() <= 1001


@pytest.mark.parametrize("form", ["--csv", "--json", "--jsonl", None])
def test_a_full_disk_is_one_message(place, form):
    with open("/dev/full", "wb") as full:
        done = ser(place, "a.wav", *([form] if form else []), out=full.fileno())
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == "error: standard output cannot be written: No space left on device"


def test_a_spreadsheet_finds_no_formula(place, tmp_path):
    names = ["=1+1.wav", "+1.wav", "-1.wav", "@x.wav", "plain.wav"]
    for name in names:
        (tmp_path / name).write_bytes((place / "a.wav").read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "ser.serving.cli", "predict", "--csv", "--bundle", place / "exports/made", "--", *names],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=120,
    )  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["path"] for row in rows] == ["'=1+1.wav", "'+1.wav", "'-1.wav", "'@x.wav", "plain.wav"]


def test_json_is_json_in_every_encoding(place, tmp_path):
    odd = tmp_path / "größe 😀.wav"
    odd.write_bytes((place / "a.wav").read_bytes())
    for form in ("--json", "--jsonl"):
        told = json.loads(ser(place, str(odd), form, PYTHONIOENCODING="ascii").stdout)
        (entry,) = told["predictions"] if form == "--json" else [told]
        assert entry["path"] == str(odd)


def test_an_interrupt_keeps_what_was_judged(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    read = arguments.opened

    def interrupted(name):
        if name == "b.wav":
            raise KeyboardInterrupt
        return read(name)

    monkeypatch.setattr(arguments, "opened", interrupted)
    with pytest.raises(SystemExit) as end:
        cli.main(["predict", "a.wav", "b.wav", "--json"])
    assert end.value.code == 130
    assert [entry["path"] for entry in json.loads(capsys.readouterr().out)["predictions"]] == ["a.wav"]


def test_where_nothing_can_be_judged_nothing_is_loaded(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for given, says in ((["nowhere.wav"], "nowhere.wav: no such file or folder"), ([""], "'': an empty name")):
        with pytest.raises(SystemExit) as end:
            cli.main(["predict", *given])
        assert str(end.value.code).startswith(f"error: {says}")


@pytest.mark.parametrize(
    ("closing", "given", "says"),
    [
        ("0<&-", ["-"], "error: -: "),
        ("1>&-", ["a.wav"], None),
        ("2>&-", ["--json", "a.wav"], None),
        ("0<&- 1>&- 2>&-", ["--json", "a.wav"], None),
    ],
)
def test_a_closed_stream_is_an_empty_one(place, closing, given, says):
    """Without one, what is said beside the answer would stand in it, and a file that is opened would take its number."""
    command = f'"{sys.executable}" -m ser.serving.cli predict {" ".join(given)} {closing}'
    done = subprocess.run(["bash", "-c", command], cwd=place, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120)
    assert b"Traceback" not in done.stderr
    if says is None:
        assert done.returncode == 0
        assert not done.stdout or json.loads(done.stdout)["predictions"]
    else:
        assert done.returncode == 1
        assert done.stderr.decode().splitlines()[-1].startswith(says)


@pytest.mark.parametrize(
    ("given", "variables", "says"),
    [
        (["predict", "--bundle", "x" * 300, "a.wav"], {}, "File name too long"),
        (["predict", "--timeline", "--plot", "folder.html", "a.wav"], {}, "folder.html: Is a directory (a folder lies where"),
        (["predict", "--timeline", "--plot", "x" * 300 + ".html", "a.wav"], {}, "File name too long"),
        (["predict", "--timeline", "--plot", "", "a.wav"], {}, "--plot .: the name must end in .html, .svg or .png"),
        (["predict", "--plot", "", "a.wav"], {}, "--srt, --labels and --plot show emotion over time: add --timeline"),
        (["speakers"], {"SER_SPEAKERS_DIR": "/" + "x" * 300}, "File name too long"),
        (["speakers"], {"SER_SPEAKERS_DIR": "~nobodysuch/x"}, "~nobodysuch/x: there is no such home folder"),
        (["predict", "--bundle", "made.zip", "a.wav"], {"SER_CACHE_DIR": "~nobodysuch"}, "~nobodysuch: there is no such home folder"),
        (["serve", "--host", "x" * 300 + ".org"], {}, "cannot listen on"),
        (["serve", "--host", "a..b"], {}, "cannot listen on a..b, port 8000"),
    ],
)
def test_a_place_that_cannot_be_is_one_message(place, monkeypatch, given, variables, says):
    monkeypatch.chdir(place)
    (place / "folder.html").mkdir(exist_ok=True)
    with zipfile.ZipFile(place / "made.zip", "w") as packed:
        packed.write("exports/made/bundle.json", "bundle.json")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as end:
        cli.main(given)
    assert str(end.value.code).startswith("error: ")
    assert says in str(end.value.code)


def test_a_picture_says_a_name_that_is_no_text(place, tmp_path):
    odd = os.fsencode(tmp_path) + b"/\xff.wav"
    Path(os.fsdecode(odd)).write_bytes((place / "a.wav").read_bytes())
    done = ser(place, odd, "--timeline", "--plot", str(tmp_path / "x.html"))
    assert done.returncode == 0, done.stderr
    assert "/\\udcff.wav" in (tmp_path / "x.html").read_text()


def test_ctrl_c_while_it_is_imported_ends_without_a_traceback(tmp_path):
    (tmp_path / "textwrap.py").write_text("raise KeyboardInterrupt")  # a module that the command line imports
    began = subprocess.run(
        [sys.executable, "-m", "ser", "--version"], env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}, capture_output=True,
    )  # fmt: skip
    assert (began.returncode, began.stdout, began.stderr) == (130, b"", b"")
