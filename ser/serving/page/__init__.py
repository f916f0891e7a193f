"""``ser serve``: a page in the browser and ``POST /predict``, for one's own machine (docs/serve.md).

Reading order: ``limits`` (what is allowed), ``question`` and ``answer`` (a recording's bytes → what is sent back), ``worker`` (a process
that does this under limits), ``pool`` (several of them), ``upload`` and ``guard`` (what comes in, and from whom), ``app`` (the routes),
``listen`` and ``command`` (the command). The page is ``document``, from the HTML, CSS and JavaScript beside it.
It belongs to ``serving`` and uses its predictor. Starlette and uvicorn are the extra ``ser[serve]``.
"""
