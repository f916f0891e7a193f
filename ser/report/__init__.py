"""The report: one self-contained HTML page with its pictures.

Imports ``evaluation`` and ``params``. Only the report stage imports it.
"""
