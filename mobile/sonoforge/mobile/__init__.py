"""Turn a classifier's bundle into an app: offline in a browser, on a phone or on a clinic's laptop."""

import sonoforge.runtime  # noqa: F401 - keeps onnxruntime silent, whoever imports it next

HERE = ("localhost", "127.0.0.1", "::1")
"""Names that reach this machine only from itself."""
