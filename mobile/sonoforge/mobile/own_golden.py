"""Golden answers of the very file that an app answers with, where they are not those of the bundle.

A bundle's ``golden.npz`` holds what ``model.onnx`` answers.  An int8 or fp16 file answers otherwise, so a page that
carries one and compared itself with these would have to allow so much that it could not notice a broken device.  Such a
file's own answers are therefore recorded when the app is built.
"""

from __future__ import annotations

import hashlib
import io
import platform
from typing import Any, NamedTuple

import numpy as np

from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.golden import PROBABILITY_TOLERANCES

ALLOWED = {"fp16": 0.02, "int8": 0.05}
"""Largest difference of a probability, on the device, from what the same file answered at the build.

int8: WebAssembly's rounding flips single 8-bit levels, which moved golden probabilities by up to 0.010 (Chromium,
against AVX2); 8-bit sums that overflow, as on x86 without VNNI, moved them by 0.06 to 0.09 and must be noticed.
"""


class OwnGolden(NamedTuple):
    """Golden answers of one model file.

    Attributes:
        content: An ``.npz`` with the arrays of the bundle's ``golden.npz``.
        record: What the page reads of it: ``file``, ``sha256``, ``bytes``, ``tolerance``, ``recorded`` (by what).
    """

    content: bytes
    record: dict[str, Any]


def record_golden(classifier: Classifier) -> OwnGolden | None:
    """Let a classifier's file answer for the bundle's golden images; None for a file that the bundle's answers are of.

    Raises:
        SonoforgeError: It does not answer here as it should.
    """
    bundle, model = classifier.bundle, classifier.file
    entry = bundle.manifest.files[model]
    if entry.precision == "fp32":
        return None
    golden = bundle.golden()
    answers = classifier.predict(golden["pixels"])
    difference = float(np.abs(answers["probabilities"] - golden["probabilities"]).max())
    allowed = PROBABILITY_TOLERANCES[entry.precision]
    if not difference <= allowed:
        raise SonoforgeError(
            f"{bundle.path}: {model}: its probabilities of golden images differ by {difference:.2g} from those of "
            f"{ClassifierManifest.model}, expected at most {allowed:g}; export it again, or give another --file"
        )
    stream = io.BytesIO()
    np.savez_compressed(stream, pixels=golden["pixels"], **answers)  # type: ignore[arg-type]
    content = stream.getvalue()
    record = {
        "file": "golden.npz",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "tolerance": ALLOWED[entry.precision],
        "recorded": f"{model}, {classifier.provider} on {platform.machine()}",
    }
    return OwnGolden(content, record)
