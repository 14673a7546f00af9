"""A classifier's bundle as an app: offline in a browser, on a phone, on a clinic's laptop."""

import sonoforge.runtime  # noqa: F401 - keeps onnxruntime silent, whoever imports it next
