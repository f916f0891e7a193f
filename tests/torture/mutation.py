"""Other bytes from good ones, by random numbers."""

from __future__ import annotations

import random

SIGNS = "abcXYZ019 _-./\\\n\t,;:'\"=+@#\0\u200b\u202e\u0301ÅäßĲﬁ日本🙂\ufeff\udc80"
"""Of which texts are made: letters, separators, and signs that draw nothing, combine, turn, or are no character."""


def mutated(data: bytes, chosen: random.Random, words: tuple[bytes, ...] = ()) -> bytes:
    """Other bytes: some flipped, cut out, doubled, moved, or replaced by words that readers know."""
    broken = bytearray(data)
    for _ in range(chosen.choice((1, 1, 2, 4, 16))):
        at, end = sorted(chosen.randrange(len(broken) + 1) for _ in range(2))
        kind = chosen.randrange(7)
        if kind == 0 and broken:
            broken[at % len(broken)] = chosen.randrange(256)
        elif kind == 1 and broken:
            broken[at % len(broken)] ^= 1 << chosen.randrange(8)
        elif kind == 2:
            del broken[at : min(end, at + chosen.choice((1, 4, 100, 10**6)))]
        elif kind == 3:
            broken[at:at] = broken[at : min(end, at + 200)]
        elif kind == 4:
            broken[at : at + 4] = chosen.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\1\0\0\0", b"\0\0\0\x80"))
        elif kind == 5 and words:
            broken[at:at] = chosen.choice(words)
        else:
            broken[at:at] = chosen.randbytes(chosen.choice((1, 3, 20)))
    return bytes(broken)


def text(chosen: random.Random, most: int = 60) -> str:
    """A text of odd signs, shorter than ``most``."""
    return "".join(chosen.choice(SIGNS) for _ in range(chosen.randrange(most)))
