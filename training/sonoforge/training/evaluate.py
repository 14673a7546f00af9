"""``sonoforge evaluate REAL FAKE``: are generated images realistic, diverse, copied?  Each figure with its protocol.

JSON (``--json``) is the ``results.json`` of the run folder: ``real`` and ``fake`` (what was compared), ``protocol`` and
``protocol_id``, ``metrics`` (a list of figures, each ``{"name", "title", "space", "question", "better", "value",
"standard_error", "matched", "matched_low", "matched_high", "floor", "floor_low", "floor_high", "ratio", "note"}``),
``copies``, ``projections``, ``verdicts``, ``not_measured``, ``seconds``.  With ``--compare``: ``rows``, one for each
evaluation.
"""
