"""How it runs, never what it computes: cores, devices, worker processes, files on their way into place.

Imports only ``ser.params``. Every room may import it.
"""
