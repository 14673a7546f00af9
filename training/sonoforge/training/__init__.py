"""Turn images into evidence: data, splits, generators, classifiers, cross-validation, reports."""

import sonoforge.runtime  # noqa: F401 - which keeps onnxruntime silent, whoever imports it next
