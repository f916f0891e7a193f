"""What bytes are that libsndfile cannot read, and the way out, for messages. Only the first bytes are looked at; no length is trusted."""

from __future__ import annotations

READABLE = "WAV, FLAC, OGG, Opus, MP3, AIFF"
CONVERT = "`pip install 'ser[media]'` reads it, or convert it with `ffmpeg -i FILE out.wav`"

_PAGE = (b"<!doctype", b"<html", b"<head", b"<?xml")
_STARTS = {
    b"version https://git-lfs": "a Git LFS pointer, not the recording itself; `git lfs pull` fetches the recording",
    b"\x1aE\xdf\xa3": f"WebM or Matroska, as browsers record; {CONVERT}",
    b"\x1f\x8b": "packed with gzip; unpack it with `gunzip`",
    b"PK\x03\x04": "a zip archive; unpack it",
    b"#!AMR": f"AMR, as telephones record; {CONVERT}",
    b"0&\xb2u\x8ef\xcf\x11": f"Windows Media (WMA); {CONVERT}",
    b"\xff\xf1": f"raw AAC; {CONVERT}",
    b"\xff\xf9": f"raw AAC; {CONVERT}",
}
"""First bytes → what they are, and what to do."""


def named(data: bytes) -> str:
    """What unreadable bytes are and what to do, as a phrase; for unknown ones, which formats can be read.

    Args:
        data: the whole file.
    """
    if not data.strip(b"\0"):
        return "the file is empty" if not data else f"the file holds {len(data)} zero bytes and nothing else; copy it again"
    if data[4:8] == b"ftyp":
        return f"MP4 or M4A (AAC), as telephones record; {CONVERT}"
    if data[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGE):
        return "a web page, not a recording; the download led to a page, so fetch the file itself"
    found = next((said for start, said in _STARTS.items() if data.startswith(start)), None)
    return found or f"format not recognised, or damaged at its beginning; {READABLE} can be read"
