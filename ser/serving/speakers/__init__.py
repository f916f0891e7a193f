"""Speakers that the model knows from a few recordings: ``ser enroll``.

Reading order: ``adaptation`` (what is learned of a speaker), ``profile`` (how it is written down), ``enrolment`` (recordings → profile),
``store`` (where profiles lie), ``command``.
"""
