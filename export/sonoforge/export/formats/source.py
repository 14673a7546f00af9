"""What every writer of a classifier's file takes."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sonoforge.runtime.images.preprocessing import Preprocessing


@dataclass(frozen=True)
class Source:
    """A trained classifier, ready to be exported in any format."""

    # The network (`onnx_graph.BundleGraph`) on the CPU, in evaluation mode: (N, 3, S, S) float32 to logits (N,
    # C), probabilities (N, C), embedding (N, 1280) and class-activation maps (N, C, h, w).
    graph: nn.Module
    onnx: bytes  # the same as a float32 ONNX file that has passed the gate
    # (N, S, S, 3) uint8 images of the training set, for formats that measure ranges of values.
    calibration: NDArray[np.uint8]
    preprocessing: Preprocessing  # how images become inputs
    metadata: dict[str, str]  # text stored in the files whose format allows it

    def example(self, rows: int) -> tuple[Tensor]:
        """Return inputs to trace or lower with, so many images."""
        return (torch.zeros(rows, 3, self.preprocessing.size, self.preprocessing.size),)

    @property
    def has_second_pass(self) -> bool:
        """Whether the network runs its layers twice, see `models.zoomed_pass`."""
        return bool(getattr(self.graph, "look", None))
