"""The command ``ser``, also ``python -m ser``."""

import sys


def main() -> None:
    """Import the command line and run it. Ctrl-C during the import, which takes tenths of a second, ends with status 130 as later."""
    try:
        from ser.serving import cli
    except KeyboardInterrupt:
        sys.exit(130)
    cli.main()


if __name__ == "__main__":
    main()
