"""Speaks in a process of its own: requests as JSON on standard input, 16-bit PCM on standard output.

espeak-ng keeps noise and phase from one utterance to the next in process-wide state that not even
``espeak_Terminate`` resets. In a fresh process the same requests in the same order give the same bytes, and
its GPL code stays out of the laboratory's own process. Started by ``ser.corpora.demo``; imports nothing of
``ser`` so that it can be run by path.
"""

from __future__ import annotations

import ctypes
import json
import signal
import struct
import sys
from typing import BinaryIO, TypedDict

SAMPLE_RATE = 22050
"""Rate of everything espeak-ng makes, in Hz."""

_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: call back from within espeak_Synth instead of from a thread that sleeps
_DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT: return an error code where the library would end the process
_UTF8 = 1  # espeakCHARS_UTF8
_PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "range": 4}  # espeak_PARAMETER

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Request(TypedDict):
    """One phrase: voice as ``language+variant``, rate in words per minute (80–450), pitch and range 0–99 (50:
    the voice's own).
    """

    voice: str
    text: str
    rate: int
    pitch: int
    range: int


def speak(requests: list[Request], out: BinaryIO) -> None:
    """Write each phrase as a little-endian uint32 count and that many int16 values.

    Raises:
        RuntimeError: if the library refuses to start, a voice or a phrase.
    """
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    pcm = bytearray()

    def collect(wave: ctypes._Pointer[ctypes.c_short], count: int, events: int | None) -> int:
        if wave and count > 0:
            pcm.extend(ctypes.string_at(wave, 2 * count))
        return 0

    callback = _Callback(collect)  # the library keeps only its address

    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), _DONT_EXIT)
    if rate != SAMPLE_RATE:
        raise RuntimeError(f"espeak-ng did not start (espeak_Initialize returned {rate})")
    library.espeak_SetSynthCallback(callback)
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # not from the clock
    for request in requests:
        pcm.clear()
        text = request["text"].encode()
        failed = library.espeak_SetVoiceByName(request["voice"].encode())
        for name, number in _PARAMETERS.items():
            failed |= library.espeak_SetParameter(number, request.get(name, 100), 0)
        failed |= library.espeak_Synth(text, len(text) + 1, 0, 0, 0, _UTF8, None, None)
        if failed or not pcm:
            raise RuntimeError(f"espeak-ng could not speak {request}")
        out.write(struct.pack("<I", len(pcm) // 2) + pcm)


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # what a handler raises would be lost in the library's callback
    speak(json.load(sys.stdin), sys.stdout.buffer)
