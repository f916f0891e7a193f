"""Print the network of params.yaml as a table and draw it: ``python -m ser.diagram``."""

from ser.runtime import commands

if __name__ == "__main__":
    commands.run("ser.diagram.command")
