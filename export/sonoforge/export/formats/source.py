"""What the writers of files take: a trained network, ready to be written in any format."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sonoforge.export.generators.graph import generator_inputs, trace_generator
from sonoforge.runtime.images.preprocessing import Preprocessing


@dataclass(frozen=True)
class Source:
    """A classifier."""

    # The network (`onnx_graph.BundleGraph`) on the CPU, in evaluation mode: (N, 3, S, S) float32 to logits (N,
    # C), probabilities (N, C), embedding (N, 1280) and class-activation maps (N, C, h, w).
    graph: nn.Module
    onnx: bytes  # the same as a float32 ONNX file that has passed the gate
    # (N, S, S, 3) uint8 images of the training set, for formats that measure ranges of values.
    calibration: NDArray[np.uint8]
    preprocessing: Preprocessing  # how images become inputs
    metadata: dict[str, str]  # text stored in the files whose format allows it
    stem: ClassVar[str] = "model"  # how the names of its files begin

    def example(self, rows: int) -> tuple[Tensor, ...]:
        """Return inputs to trace or lower with, so many images."""
        return (torch.zeros(rows, 3, self.preprocessing.size, self.preprocessing.size),)

    @property
    def has_second_pass(self) -> bool:
        """Whether the network runs its layers twice, see `models.zoomed_pass`."""
        return bool(getattr(self.graph, "look", None))


@dataclass(frozen=True)
class GeneratorSource:
    """A generator."""

    generator: nn.Module  # the network on the CPU, in evaluation mode
    onnx: bytes  # the same as a float32 ONNX file
    stem: ClassVar[str] = "generator"
    has_second_pass: ClassVar[bool] = False

    @property
    def graph(self) -> nn.Module:
        """The network with the inputs of the exported files."""
        return trace_generator(self.generator).eval()

    @property
    def metadata(self) -> dict[str, str]:
        """The text that the ONNX file carries."""
        return {entry.key: entry.value for entry in onnx.load_model_from_string(self.onnx).metadata_props}

    def example(self, rows: int) -> tuple[Tensor, ...]:
        """Return inputs to trace or lower with, so many latents."""
        return tuple(generator_inputs(self.generator, rows, psi=0.7, seed=0).values())


def write_onnx(source: Source | GeneratorSource) -> bytes:
    """Return the ONNX file, which the others are made of or compared with."""
    return source.onnx
