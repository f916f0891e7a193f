"""From predictions to a result: metrics, intervals, calibration, slices, comparison, robustness, gates, and the file's type.

Imports ``training`` (inference only), ``views``, ``signal``, ``params`` and ``runtime``.
``report``, ``serving`` and the stages may import it.
"""
