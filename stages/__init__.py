"""One thin, runnable script per stage of the pipeline: read params.yaml, call ``ser``, write outputs.

Importing this package chooses the kernels of numerical libraries, so it comes before they are imported. It also puts nothing in the place
of a standard stream that is closed.
"""

import sys
from types import TracebackType

INTERRUPTED = "interrupted; a rerun resumes from what is finished"


def _in_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say in one line that Ctrl-C came, also while modules are imported and arguments are read; show all else as ever."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write(f"{INTERRUPTED}\n")
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _in_words

import ser.runtime.parent  # noqa: E402, F401  (who started this is looked for before all else)
from ser.runtime import kernels, output  # noqa: E402  (Ctrl-C may come while they are imported)

output.all_open()
kernels.pin()
