"""The report: one self-contained HTML page with its pictures.

Imports ``evaluation``, ``runtime`` and ``params``. Only the report stage imports it.
"""
