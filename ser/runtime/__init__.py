"""How it runs, never what it computes: cores, devices, workers, safe writing of files, circumstances, text of figures.

Imports only ``ser.params``. Every room may import it.
"""
