"""One thin, runnable script per stage of the pipeline: read params.yaml, call ``ser``, write outputs.

Importing this package chooses the kernels of numerical libraries, so it comes before they are imported.
"""

from ser.runtime import kernels

kernels.pin()
