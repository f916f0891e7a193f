"""Emotion over time: windows that move over a recording.

Reading order: ``moments`` (a recording → probabilities over time), ``text`` (tables, subtitles, labels), ``picture``, ``command``.
"""
