"""Define what format writers take: a trained classifier, or a generator that maps latents, psi and class to images.

Only conditional generators take labels; only generators with styles take psi.  The batch is free in every file.  The
exporter's own simplification is off for generators: it treats the 1e-8 added before a division as 0, which turns a flat
map of StyleGAN1 into NaN.

Truncation acts on all styles.  Noise inputs are the stored ones, so each latent gives one image.  StyleGAN3's transform
of the input is the identity.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sonoforge.export.formats.onnx_graph import repeat, to_ort, trace, with_preprocessing
from sonoforge.models import flow
from sonoforge.models.stylegan import stylegan3
from sonoforge.models.stylegan.generator import has_styles
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.runtime.inference.latents import draw_latent
from sonoforge.runtime.inference.runners import Answer
from sonoforge.training.gan.checkpoint import Description
from sonoforge.training.gan.generator import latent_distribution, load_generator

# Largest absolute difference allowed in images, which are in about [-1, 1]; float32 against float32.
TOLERANCE = 1e-4
TOLERANCE_WITH_STYLES = 1e-3  # StyleGAN divides by the spread of maps, which magnifies rounding

CHECKED = ((1, 1.0), (3, 0.7), (5, -0.5))  # batch and psi
OUTPUT = "images"


@dataclass(frozen=True)
class Source:
    """A classifier to write."""

    graph: nn.Module  # an `onnx_graph.BundleGraph` on the CPU, in evaluation mode
    onnx: bytes  # the same as a float32 ONNX file that has passed the gate; other formats keep its texts, if they can
    calibration: NDArray[np.uint8]  # (N, S, S, 3) training images, for formats that measure ranges of values
    preprocessing: Preprocessing
    stem: ClassVar[str] = "model"  # start of its files' names

    def example(self, rows: int) -> tuple[Tensor, ...]:
        """Return inputs for this many images to trace or lower with."""
        return (torch.zeros(rows, 3, self.preprocessing.size, self.preprocessing.size),)

    @property
    def has_second_pass(self) -> bool:
        """Whether the network runs its layers twice, see `models.mobilenetv2`."""
        return bool(getattr(self.graph, "look", None))


@dataclass(frozen=True)
class GeneratorSource:
    """A generator to write."""

    generator: nn.Module  # on the CPU, in evaluation mode
    onnx: bytes  # the same as a float32 ONNX file
    stem: ClassVar[str] = "generator"
    has_second_pass: ClassVar[bool] = False

    @property
    def graph(self) -> nn.Module:
        """The network with the inputs of the exported files."""
        return trace_generator(self.generator).eval()

    def example(self, rows: int) -> tuple[Tensor, ...]:
        """Return inputs for this many latents to trace or lower with."""
        return tuple(generator_inputs(self.generator, rows, psi=0.7, seed=0).values())


def write_onnx(source: Any, kind: str = "onnx") -> bytes:
    """Return a source's ONNX file, converted for ``ort`` or ``uint8``; see `to_ort` and `with_preprocessing`."""
    if kind == "ort":
        return to_ort(source.onnx)
    return with_preprocessing(source.onnx, source.preprocessing) if kind == "uint8" else source.onnx


class _Styled(nn.Module):
    """A generator with psi (1,) as an input after the latents."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, latents: Tensor, psi: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.generator(latents, labels, truncation_psi=psi)
        return images


class _Part(nn.Module):
    """A step of flow matching's sampler, from maps and time to maps; without a time, what makes samples of maps."""

    def __init__(self, generator: flow.Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, maps: Tensor, time: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        return self.generator.decode(maps) if time is None else self.generator.step(maps, time, labels)


def trace_generator(generator: nn.Module) -> nn.Module:
    """Wrap a generator so that a tracer can follow it, with the inputs of the exported file.

    Latents (N, Z) float, psi (1,) float where there are styles, and for a conditional generator labels (N,) int64.
    """
    return _Styled(generator) if has_styles(generator) else generator


def generator_inputs(generator: nn.Module, count: int, psi: float, seed: int) -> dict[str, Tensor]:
    """Draw inputs of `trace_generator`'s network by name, in its order, cycling through the classes."""
    classes, size = int(generator.classes), int(generator.latent_size)  # type: ignore[arg-type]
    distribution = latent_distribution(generator)
    latents = torch.from_numpy(np.stack([draw_latent(seed, index, size, distribution) for index in range(count)]))
    psis = {"psi": torch.tensor([psi])} if has_styles(generator) else {}
    labels = {"labels": torch.arange(count) % classes} if classes else {}
    return {"latents": latents, **psis, **labels}


def tolerance(generator: nn.Module) -> float:
    """Return how far the images of this generator's float32 file may differ from torch's."""
    return TOLERANCE_WITH_STYLES if has_styles(generator) else TOLERANCE


def unsuitable(name: str, generator: nn.Module) -> str:
    """Return why this generator cannot have a format; empty if it can."""
    if isinstance(generator, flow.Generator) and name == "executorch":
        return "lowering 20 passes through a U-Net takes over 6 minutes and 7 GB; use the ONNX file"
    why = {
        "torchscript": "StyleGAN3's filtered activation works in place, which a trace cannot keep; use the ONNX file",
        "executorch": "XNNPACK leaves StyleGAN3's filters to slow kernels: 10 s for 64 x 64 pixels; use the ONNX file",
    }
    return why.get(name, "") if isinstance(generator, stylegan3.Generator) else ""


def load_contiguous(checkpoint: Path) -> nn.Module:
    """Load a checkpoint's averaged generator with its weights in torch's own layout, which exporters expect."""
    generator: nn.Module = load_generator(checkpoint).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return generator


def generator_onnx(generator: nn.Module, about: Description) -> bytes:
    """Write a generator from `load_contiguous` as ONNX, with a free batch, unchecked; see `trace`."""
    graph = trace_generator(generator).eval()
    examples = generator_inputs(generator, 2, psi=0.7, seed=0)  # a batch of one would be traced as a constant
    batch = torch.export.Dim("batch", min=1, max=1024)
    metadata = {
        "sonoforge.synthetic": "true",
        "sonoforge.recipe": about.recipe,
        "sonoforge.generator_sha256": about.files["average.safetensors"],
        "sonoforge.step": str(about.step),
        "sonoforge.classes": json.dumps(about.classes),
        "sonoforge.use": "research use, not a medical device",
    }
    if not isinstance(generator, flow.Generator):
        shapes = tuple({} if name == "psi" else {0: batch} for name in examples)
        return trace(graph, examples, [OUTPUT], shapes, metadata, optimise=False)
    # Traced whole, its 20 passes through the U-Net take a minute and a half, and are more operators than bundles allow.
    before = examples.pop("latents").unflatten(1, generator.shape)
    examples = {"before": before, "time": torch.zeros(1), **examples}
    shapes = tuple({} if name == "time" else {0: batch} for name in examples)
    part = _Part(generator).eval()
    step = trace(part, examples, ["after"], shapes, {})
    last = trace(part, {"maps": examples["before"]}, [OUTPUT], shapes[:1], {})
    return repeat(step, last, "time", flow.TIMES, "latents", metadata)


def largest_difference(generator: nn.Module, answer: Answer) -> float:
    """Compare a file with torch on several batches and psi; return NaN if either does.

    ``answer`` runs the file: inputs in its order to outputs, images first.
    """
    graph = trace_generator(generator).eval()
    differences = []
    for count, psi in CHECKED:
        fed = generator_inputs(generator, count, psi, seed=count)
        with torch.inference_mode():
            expected = graph(*fed.values()).numpy()
        found = answer([value.numpy() for value in fed.values()])[0]
        if found.shape != expected.shape:
            return float("nan")
        differences.append(np.abs(found - expected).max())
    return float(np.max(differences))
