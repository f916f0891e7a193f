"""List the fusions with their formulas: ``python -m ser.model.fusions``."""

from ser.runtime import commands

if __name__ == "__main__":
    commands.run("ser.model.listing")
