"""``python -m ser`` is the command ``ser``."""

from ser.serving.cli import main

if __name__ == "__main__":
    main()
