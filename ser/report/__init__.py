"""The report: one self-contained HTML page with its pictures, and the picture of one recording.

Imports ``evaluation``, and for the recording also the rooms before it. Only the stages report and show import it.
"""
