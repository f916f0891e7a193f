"""Views of a clip, one module each, openSMILE's functionals, and how both are standardised. No torch.

Imports ``params``, ``runtime``, ``signal`` and ``encoders``.
Imported by ``model``, ``diagram``, ``training``, ``evaluation`` and ``serving``.
"""
