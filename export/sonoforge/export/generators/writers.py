"""A generator's file of each format, from its network."""

from typing import NamedTuple

import onnx
import torch
from torch import nn

from sonoforge.export.formats.executorch import fold, lower
from sonoforge.export.formats.half_precision import to_half
from sonoforge.export.formats.tensorrt.build import engine_files
from sonoforge.export.formats.torchscript import trace_file
from sonoforge.export.generators.graph import generator_inputs, trace_generator
from sonoforge.models.stylegan import stylegan3
from sonoforge.training.gan.checkpoint import Description


class GeneratorSource(NamedTuple):
    """A trained generator, ready to be written in any format."""

    generator: nn.Module  # the network on the CPU, in evaluation mode
    about: Description  # of its checkpoint
    onnx: bytes  # the same as a float32 ONNX file


def write_half(source: GeneratorSource) -> bytes:
    """Write ONNX in float16, with float32 inputs and outputs."""
    return to_half(source.onnx)


def write_torchscript(source: GeneratorSource) -> bytes:
    """Write TorchScript, which takes any batch."""
    return trace_file(trace_generator(source.generator).eval(), _examples(source, 2), _metadata(source))


def write_executorch(source: GeneratorSource) -> bytes:
    """Write ExecuTorch, which takes one latent."""
    examples = _examples(source, 1)
    return lower(fold(trace_generator(source.generator).eval(), examples), examples, _metadata(source))


def write_engine(source: GeneratorSource) -> dict[str, bytes]:
    """Write a float32 engine of TensorRT-RTX and its record."""
    return engine_files(source.onnx, source.onnx, "generator", "fp32")


def write_engine_fp16(source: GeneratorSource) -> dict[str, bytes]:
    """Write a float16 engine of TensorRT-RTX and its record."""
    return engine_files(to_half(source.onnx), source.onnx, "generator", "fp16")


def unsuitable(name: str, generator: nn.Module) -> str:
    """Return why this generator does not suit a format; nothing if it does."""
    if name == "torchscript" and isinstance(generator, stylegan3.Generator):
        return "StyleGAN3's filtered activation works in place, which a trace cannot keep; use the ONNX file"
    if name == "executorch" and isinstance(generator, stylegan3.Generator):
        return "XNNPACK leaves StyleGAN3's filters to slow kernels: 10 s for 64 x 64 pixels; use the ONNX file"
    return ""


def _examples(source: GeneratorSource, count: int) -> tuple[torch.Tensor, ...]:
    return tuple(generator_inputs(source.generator, count, psi=0.7, seed=0).values())


def _metadata(source: GeneratorSource) -> dict[str, str]:
    """Return the text that the ONNX file carries."""
    return {entry.key: entry.value for entry in onnx.load_model_from_string(source.onnx).metadata_props}
