"""How it runs and how it is written down, never what it computes: cores, devices, workers, files, circumstances, the form of figures.

Imports only ``ser.params``. Every room may import it.
"""
