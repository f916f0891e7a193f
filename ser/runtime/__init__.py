"""How it runs, never what it computes: cores, devices, worker processes, safe writing of files.

Imports only ``ser.params``. Every room may import it.
"""
