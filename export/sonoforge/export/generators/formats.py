"""The one table of what a generator can be exported to; the classifier's row of the same name says what it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import onnx
import torch
from torch import nn

from sonoforge.export.bundle.add_formats import cannot_write
from sonoforge.export.formats.executorch import fold, lower
from sonoforge.export.formats.half_precision import to_half
from sonoforge.export.formats.table import FORMATS as CLASSIFIERS
from sonoforge.export.formats.tensorrt.build import Target, build_engine
from sonoforge.export.formats.tensorrt.record import to_json
from sonoforge.export.formats.torchscript import trace_file
from sonoforge.export.generators.graph import generator_inputs, tolerance, trace_generator
from sonoforge.models.stylegan import stylegan3
from sonoforge.runtime.bundle.generation import GeneratorManifest
from sonoforge.runtime.inference.golden import IMAGE_TOLERANCES
from sonoforge.training.gan.checkpoint import Description


class Made(NamedTuple):
    """What every writer starts from: the network, what is known of it, and its ONNX file that passed the gate."""

    generator: nn.Module
    about: Description
    onnx: bytes


@dataclass(frozen=True)
class Format:
    """One row.

    Attributes:
        file: Its file in the bundle; a writer may add a second one beside it.
        write: From the network to files by name; None for the bundle's own ``generator.onnx``, which is always there.
        precision: Of weights and arithmetic: ``fp32`` or ``fp16``.
    """

    file: str
    write: Callable[[Made], dict[str, bytes]] | None
    precision: str = "fp32"


def _half(made: Made) -> dict[str, bytes]:
    return {"generator.fp16.onnx": to_half(made.onnx)}


def _torchscript(made: Made) -> dict[str, bytes]:
    graph = trace_generator(made.generator).eval()
    return {"generator.torchscript.pt": trace_file(graph, _examples(made, 2), _metadata(made))}


def _executorch(made: Made) -> dict[str, bytes]:
    examples = _examples(made, 1)
    return {"generator.pte": lower(fold(trace_generator(made.generator).eval(), examples), examples, _metadata(made))}


def _engine(made: Made) -> dict[str, bytes]:
    return _build(made, made.onnx, "generator.rtx.engine", "fp32")


def _engine_fp16(made: Made) -> dict[str, bytes]:
    return _build(made, to_half(made.onnx), "generator.fp16.rtx.engine", "fp16")


def _build(made: Made, data: bytes, name: str, precision: str) -> dict[str, bytes]:
    target = Target(module="tensorrt_rtx")
    engine, record = build_engine(data, GeneratorManifest.model, precision, target, source=made.onnx)
    return {name: engine, f"{name}.json": to_json(record)}


def _examples(made: Made, count: int) -> tuple[torch.Tensor, ...]:
    return tuple(generator_inputs(made.generator, "z", count, 0.7, seed=0).values())


def _metadata(made: Made) -> dict[str, str]:
    """Return the text that the ONNX file carries."""
    return {entry.key: entry.value for entry in onnx.load_model_from_string(made.onnx).metadata_props}


FORMATS: dict[str, Format] = {
    "onnx": Format(GeneratorManifest.model, None),
    "onnx-fp16": Format("generator.fp16.onnx", _half, "fp16"),
    "torchscript": Format("generator.torchscript.pt", _torchscript),
    "executorch": Format("generator.pte", _executorch),
    "tensorrt": Format("generator.rtx.engine", _engine),
    "tensorrt-fp16": Format("generator.fp16.rtx.engine", _engine_fp16, "fp16"),
}


def cannot_have(name: str, generator: nn.Module) -> str:
    """Say why this generator, or this machine, cannot have a format; nothing if it can."""
    if name == "torchscript" and isinstance(generator, stylegan3.Generator):
        return "StyleGAN3's filtered activation works in place, which a trace cannot keep; use the ONNX file"
    if name == "executorch" and isinstance(generator, stylegan3.Generator):
        return "XNNPACK leaves StyleGAN3's filters to slow kernels: 10 s for 64 x 64 pixels; use the ONNX file"
    return cannot_write(CLASSIFIERS[name])


def allowed_difference(name: str, generator: nn.Module) -> float:
    """Largest difference of images from torch's, in [-1, 1], that a format may have."""
    return tolerance(generator) if FORMATS[name].precision == "fp32" else IMAGE_TOLERANCES["fp16"]
