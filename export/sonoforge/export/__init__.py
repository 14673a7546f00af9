"""From a run folder to a bundle that the runtime, the page and the phone read."""

import sonoforge.runtime  # noqa: F401 - keeps onnxruntime silent, whoever imports it next
