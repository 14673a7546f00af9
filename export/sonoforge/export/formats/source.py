"""What every writer of a classifier's file takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from sonoforge.runtime.images.preprocessing import Preprocessing


@dataclass(frozen=True)
class Source:
    """A trained classifier, ready to be exported in any format.

    Attributes:
        graph: The network (`onnx_graph.BundleGraph`) on the CPU, in evaluation mode: (N, 3, S, S) float32 to logits
            (N, C), probabilities (N, C), embedding (N, 1280) and class-activation maps (N, C, h, w).
        onnx: The same as a float32 ONNX file that has passed the gate.
        calibration: (N, S, S, 3) uint8 images of the training set, for formats that measure ranges of values.
        preprocessing: How images become inputs.
        metadata: Text stored in the files whose format allows it.
    """

    graph: nn.Module
    onnx: bytes
    calibration: NDArray[np.uint8]
    preprocessing: Preprocessing
    metadata: dict[str, Any]

    @property
    def has_second_pass(self) -> bool:
        """Whether the network runs its layers twice, see `models.zoomed_pass`."""
        return bool(getattr(self.graph, "look", None))
