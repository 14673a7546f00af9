"""Turn a run folder into a bundle that the runtime, the page and the phone can read."""

import sonoforge.runtime  # noqa: F401 - keeps onnxruntime silent, whoever imports it next
