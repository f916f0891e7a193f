"""The report: one self-contained HTML page with its pictures.

Imports ``runtime`` and ``evaluation``.
Imported by no other package.
"""
