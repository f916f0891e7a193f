"""Names that people and their tools leave: what is not a recording, what is one name in two spellings, what has no name at all."""

from __future__ import annotations

import io
import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fixtures.archives import pack
from hypothesis import given
from hypothesis import strategies as st

from ser import SerError
from ser.corpora import folder
from ser.corpora.labels import Reject, not_audio
from ser.corpora.listing import list_recordings
from ser.corpora.names import clean
from ser.params.corpora import Corpus, Folder
from ser.serving.arguments import recordings
from ser.signal import audio

HIDDEN = [
    ".ipynb_checkpoints/ada/1.wav",
    "happy/.ipynb_checkpoints/1-checkpoint.wav",
    ".Trash-1000/files/1.wav",
    "__MACOSX/ada/1.wav",
    "happy/__MACOSX/1.wav",
    "happy/ada/._1.wav",
    "@eaDir/ada/1.wav",
    "$RECYCLE.BIN/ada/1.wav",
    "System Volume Information/ada/1.wav",
    "lost+found/ada/1.wav",
]
VISIBLE = ["happy/ada/1.wav", "happy/ben/1.wav", "sad/ada/2.wav", "sad/ben/2.wav"]
OWN = Corpus.model_validate(
    {
        "source": {"kind": "links", "archives": [{"name": "x.zip", "url": None, "checksum": None}]},
        "labels": {"classes": [], "edition": "official"},
    }
)


def listed(tmp_path: Path, members: dict[str, bytes]) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Label and speaker of each clip, and the reason for each reject, of an archive that no module describes."""
    pack(tmp_path / "x.zip", members)
    (tmp_path / "source.json").write_text(json.dumps({"archives": [{"name": "x.zip"}]}))
    found, rejects = list_recordings("mine", OWN, tmp_path)
    return {one.clip: (one.recording.emotion, one.recording.speaker) for one in found}, {one.path: one.reason for one in rejects}


def test_tool_folders_are_neither_labels_nor_speakers_nor_recordings_in_an_archive(tmp_path: Path) -> None:
    found, rejects = listed(tmp_path, dict.fromkeys([*HIDDEN, *VISIBLE], b""))
    assert found == {name: tuple(name.split("/")[:2]) for name in VISIBLE}
    assert rejects == dict.fromkeys(HIDDEN, "not_audio")


def test_tool_folders_are_not_packed_from_an_own_folder_and_not_judged_by_predict(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for name in [*HIDDEN, *VISIBLE]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    folder.write_archive(tmp_path / "x.zip", "folder", Folder(kind="folder", path=str(root), table=None))
    (tmp_path / "source.json").write_text(json.dumps({"archives": [{"name": "x.zip"}]}))
    found, rejects = list_recordings("mine", OWN, tmp_path)
    assert ([one.clip for one in found], rejects) == (VISIBLE, [])
    assert recordings([str(root)]) == [str(root / name) for name in VISIBLE]


def test_a_hidden_folder_above_the_recordings_hides_nothing(tmp_path: Path) -> None:
    root = tmp_path / ".data"
    for name in VISIBLE:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    folder.write_archive(tmp_path / "x.zip", "folder", Folder(kind="folder", path=str(root), table=None))
    assert recordings([str(root)]) == [str(root / name) for name in VISIBLE]


@pytest.mark.parametrize(
    ("suffix", "kind", "subtype"),
    [("opus", "OGG", "OPUS"), ("aiff", "AIFF", "PCM_16"), ("aif", "AIFF", "FLOAT"), ("AIFF", "AIFF", "PCM_16")],
)
def test_opus_and_aiff_are_recordings_everywhere(tmp_path: Path, suffix: str, kind: str, subtype: str) -> None:
    sound = io.BytesIO()
    soundfile.write(sound, np.sin(np.arange(48000) / 20).astype(np.float32) / 2, 48000, format=kind, subtype=subtype)
    names = [f"happy/ada/1.{suffix}", f"sad/ben/1.{suffix}"]
    found, rejects = listed(tmp_path, dict.fromkeys(names, sound.getvalue()))
    assert (list(found), rejects) == (names, {})
    assert len(audio.decode(sound.getvalue(), 16000)) == pytest.approx(16000, abs=400)
    (tmp_path / f"one.{suffix}").write_bytes(sound.getvalue())
    assert recordings([str(tmp_path)]) == [str(tmp_path / f"one.{suffix}")]


@pytest.mark.parametrize("nothing", ["  ", "\u200b", "\ufeff\u00a0", "\u3164", "\u2060 "])
@pytest.mark.parametrize("path", ["{}/ada/x.wav", "happy/{}/x.wav", "{}/{}/x.wav"])
def test_a_folder_without_a_visible_name_is_no_class_and_no_speaker(tmp_path: Path, nothing: str, path: str) -> None:
    nameless = path.replace("{}", nothing)
    found, rejects = listed(tmp_path, dict.fromkeys([nameless, *VISIBLE], b""))
    assert set(found) == set(VISIBLE)
    assert rejects == {nameless: "nameless"}
    told = folder.labels(nameless, {})
    assert isinstance(told, Reject)
    assert "shows nothing" in told.detail


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (" ada ", "ada"),
        ("a\u0308da", "äda"),
        ("\ufeffada", "ada"),
        ("a\u200bda", "ada"),
        ("ada\u00ad", "ada"),
        ("ada\ufe0f", "ada"),
        ("ada \u00a0 b", "ada b"),
        ("\u202eada\u202c", "ada"),
    ],
)
def test_labels_and_speakers_are_written_in_one_form(tmp_path: Path, written: str, name: str) -> None:
    found, _ = listed(tmp_path, dict.fromkeys([f"{written}/{written}/1.wav", *VISIBLE[:2]], b""))
    assert (name, name) in found.values()
    table = f"path,label,speaker,language\na.wav,{written},{written},{written}\n"
    row = folder.read_table(table, "table")["a.wav"]
    assert (row.emotion, row.speaker, row.language) == (name, name, name)


SAME = [("ADA", "ada"), ("Straße", "STRASSE"), ("ａｄａ", "ada"), ("ﬁn", "fin"), ("Ämil", "ämil")]


@pytest.mark.parametrize(("one", "other"), SAME)
@pytest.mark.parametrize(("what", "path"), [("label", "{}/eve/1.wav"), ("speaker", "happy/{}/1.wav")])
def test_two_spellings_of_one_name_are_a_clear_stop(tmp_path: Path, one: str, other: str, what: str, path: str) -> None:
    names = [path.format(one), path.format(other), "sad/fay/1.wav"]
    with pytest.raises(SerError, match=f"the {what}s .* differ only in case, width or Unicode form; write them alike") as told:
        listed(tmp_path, dict.fromkeys(names, b""))
    assert one in str(told.value)
    assert other in str(told.value)
    for name in names:
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_bytes(b"x")
    with pytest.raises(SerError, match=f"mine: the {what}s "):
        folder.write_archive(tmp_path / "y.zip", "folder", Folder(kind="folder", path=str(tmp_path / "mine"), table=None))
    assert not (tmp_path / "y.zip").exists()


def test_names_in_two_encodings_of_an_accent_are_one_name(tmp_path: Path) -> None:
    names = [f"{unicodedata.normalize(form, 'wütend')}/ada/{form}.wav" for form in ("NFC", "NFD")]
    found, _ = listed(tmp_path, dict.fromkeys([*names, "sad/ada/1.wav"], b""))
    assert {label for label, _ in found.values()} == {"wütend", "sad"}


@given(st.text())
def test_cleaning_is_done_once(name: str) -> None:
    assert clean(clean(name)) == clean(name)
    assert unicodedata.is_normalized("NFC", clean(name))
    assert clean(name) == clean(name).strip()


@given(st.lists(st.sampled_from(["a", "..", "b.wav", "x"]), min_size=1).map("/".join))
def test_an_ordinary_path_is_not_hidden(path: str) -> None:
    assert (not_audio(path) is None) == path.endswith(".wav")
