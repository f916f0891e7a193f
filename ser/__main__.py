"""The command ``ser``, also ``python -m ser``."""

from ser.runtime import commands


def main() -> None:
    """Import the command line and run it."""
    commands.run("ser.serving.cli")


if __name__ == "__main__":
    main()
