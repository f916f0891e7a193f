"""A microphone or a pipe, judged while it runs: ``ser listen``.

Reading order: ``sources`` (where sound comes from), ``buffer`` (the last seconds of it), ``steps`` (an answer for each step), ``command``.
"""
