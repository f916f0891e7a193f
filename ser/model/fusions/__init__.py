"""The fusions, one module each: the name of the module is the value of ``model.fusion``.

``ser.model.fusion`` says what a fusion is and what the letters mean. ``python -m ser.model.fusions`` lists
them.
"""
