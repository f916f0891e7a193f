"""One thin, runnable script per stage of the pipeline: read params.yaml, call ``ser``, write outputs."""
