"""A trained generator as one ONNX file: latents or styles, psi and class to images.

What runs where (torch 2.13, onnxruntime 1.31, networks of 32 pixels; batches of 1, 3 and 5, and with styles psi of 1,
0.3 and -1).  The batch is free in every file.

| network      | ONNX (torch.export) | torch.jit.trace | ONNX by the older, TorchScript exporter |
|--------------|---------------------|-----------------|-----------------------------------------|
| dcgan-thesis | yes                 | yes, to the bit | not tried                               |
| dcgan        | yes                 | yes, to the bit | not tried                               |
| began        | yes                 | yes, to the bit | not tried                               |
| progan       | yes                 | yes, to the bit | not tried                               |
| stylegan1    | yes                 | yes, to the bit | no: depthwise filters' kernel           |
| stylegan2    | yes                 | yes, to the bit | no: depthwise filters' kernel           |
| stylegan3-t  | yes                 | no              | no                                      |
| stylegan3-r  | yes                 | no              | no                                      |

Labels are an input of conditional generators alone; psi of those with styles alone.

* The older exporter needs the shape of every kernel beforehand; those of the filters depend on the number of maps,
  which it reads from a map ("convolution for kernel of unknown shape").
* StyleGAN3's filtered activation consists of autograd functions, which keep fewer maps for the gradient.  A TorchScript
  trace keeps these as calls of Python that it can neither run, because one works in place ("inplace
  _ClampedLeakyReLU not supported in the JIT"), nor save.  So formats that are made of such a trace (TorchScript itself,
  Core ML's converter, ncnn's pnnx) need the ONNX file, or the exported program, as their source.

The exporter's own simplification is left out: it takes the 1e-8 that is added before a division for 0, so that a flat
map of StyleGAN1 becomes NaN.  A nearly flat map (noise strengths near 0, soon after training began) magnifies rounding,
and may keep a file from passing the check.

Truncation by ``psi_cutoff`` is fixed where a graph is traced; here all styles are drawn.  Noise inputs are the stored
ones: each latent has one image.  StyleGAN3's transform of the input is the identity.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from sonoforge.export.formats.onnx_graph import trace
from sonoforge.models.stylegan.mapping import MappingNetwork, has_styles
from sonoforge.runtime.atomic import write_bytes
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.inference.latents import draw_latent
from sonoforge.runtime.inference.model_files import Answer
from sonoforge.training.gan.checkpoint import Description, describe, find_checkpoint
from sonoforge.training.gan.generator import latent_distribution, load_generator

# Largest absolute difference allowed in images, which are in about [-1, 1]; float32 against float32.
TOLERANCE = 1e-4
TOLERANCE_WITH_STYLES = 1e-3  # StyleGAN divides by the spread of maps, which magnifies rounding

CHECKED = ((1, 1.0), (3, 0.7), (5, -0.5))  # batch and psi
LARGEST_BATCH = 1024
OUTPUT = "images"


class _Plain(nn.Module):
    """Latents (N, Z) and, for a conditional generator, labels (N,) to images (N, C, S, S)."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.generator(latents, labels)
        return images


class _FromLatents(nn.Module):
    """Latents (N, Z), psi (1,) and, for a conditional generator, labels (N,) to images (N, C, S, S)."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, latents: Tensor, psi: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.generator(latents, labels, truncation_psi=psi)
        return images


class _FromStyles(nn.Module):
    """Styles (N, L, W) and psi (1,) to images (N, C, S, S)."""

    def __init__(self, mapping: nn.Module, synthesis: nn.Module) -> None:
        super().__init__()
        self.mapping = cast(MappingNetwork, mapping)
        self.synthesis = synthesis

    def forward(self, styles: Tensor, psi: Tensor) -> Tensor:
        images: Tensor = self.synthesis(self.mapping.truncate(styles, psi))
        return images


def trace_generator(generator: nn.Module, inputs: str = "z") -> nn.Module:
    """Return a network that a tracer can follow, with the inputs of the exported file.

    Args:
        generator: In evaluation mode.
        inputs: ``"z"``: latents (N, Z) float, psi (1,) float where there are styles, and for a conditional generator
            labels (N,) int64.  ``"w"``: styles (N, L, W) float and psi (1,) float; the class is in the styles.

    Raises:
        SonoforgeError: Other inputs, or styles of a generator that has none.
    """
    if inputs not in ("z", "w"):
        raise SonoforgeError(f"generator export: found inputs {inputs!r}, expected z or w")
    if not has_styles(generator):
        if inputs == "w":
            raise SonoforgeError(
                f"generator export: found {type(generator).__module__}, which has no styles, expected one of StyleGAN"
            )
        return _Plain(generator)
    if inputs == "z":
        return _FromLatents(generator)
    return _FromStyles(generator.get_submodule("mapping"), generator.get_submodule("synthesis"))


def generator_inputs(generator: nn.Module, inputs: str, count: int, psi: float, seed: int) -> dict[str, Tensor]:
    """Draw inputs of `trace_generator`'s network by name, in its order; classes in turn."""
    classes, size = int(generator.classes), int(generator.latent_size)  # type: ignore[arg-type]
    distribution = latent_distribution(generator)
    latents = torch.from_numpy(np.stack([draw_latent(seed, index, size, distribution) for index in range(count)]))
    labels = torch.arange(count) % classes if classes else None
    psis = {"psi": torch.tensor([psi])} if has_styles(generator) else {}
    if inputs == "w":
        with torch.inference_mode():
            return {"styles": generator.mapping(latents, labels).contiguous(), **psis}  # type: ignore[operator]
    return {"latents": latents, **psis} | ({} if labels is None else {"labels": labels})


def tolerance(generator: nn.Module) -> float:
    """Largest absolute difference of images from torch's that a float32 file of this generator may have."""
    return TOLERANCE_WITH_STYLES if has_styles(generator) else TOLERANCE


def generator_onnx(generator: nn.Module, about: Description, inputs: str = "z") -> bytes:
    """Write a generator as ONNX, with a free batch, unchecked.

    Args:
        generator: From `load_generator`, weights in torch's own layout.
        about: Of its checkpoint.
        inputs: See `trace_generator`.

    Raises:
        GateError: The exporter wrote another operator set.
        SonoforgeError: See `trace_generator`.
    """
    graph = trace_generator(generator, inputs).eval()
    examples = generator_inputs(generator, inputs, 2, 0.7, seed=0)  # a batch of one would be traced as a constant
    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    shapes = tuple({} if name == "psi" else {0: batch} for name in examples)
    metadata = {
        "sonoforge.synthetic": "true",
        "sonoforge.recipe": about.recipe,
        "sonoforge.generator_sha256": about.files["average.safetensors"],
        "sonoforge.step": str(about.step),
        "sonoforge.classes": json.dumps(about.classes),
        "sonoforge.use": "research use, not a medical device",
    }
    return trace(graph, examples, [OUTPUT], shapes, metadata, optimise=False)


def load_contiguous(checkpoint: Path) -> nn.Module:
    """Load a checkpoint's averaged generator with its weights in torch's own layout, which exporters expect."""
    generator: nn.Module = load_generator(checkpoint).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return generator


def export_generator(checkpoint: Path, path: Path, inputs: str = "z") -> dict[str, Any]:
    """Write the averaged generator of a checkpoint as ONNX, if onnxruntime answers as torch does.

    The check runs on the file's bytes before they are written; a file that was there and does not pass any more is
    not left to be mistaken for the new one.

    Args:
        checkpoint: A checkpoint folder, or a run folder (then its newest checkpoint).
        path: The ``.onnx`` file; one that is there is replaced.
        inputs: See `trace_generator`.

    Returns:
        ``max_abs``: largest difference; ``tolerance``; ``checked``: pairs of batch and psi; ``bytes``; ``inputs``:
        shapes by name, with ``N`` for the free batch; versions of torch and onnxruntime.

    Raises:
        GateError: Images differ by more than `tolerance`, or the exporter wrote another operator set.
        SonoforgeError: Not a checkpoint, styles of a generator that has none, or a file that cannot be written.
    """
    if path.is_dir():
        raise SonoforgeError(f"{path}: is a folder, expected the name of an .onnx file")
    generator = load_contiguous(checkpoint)
    model = generator_onnx(generator, describe(find_checkpoint(checkpoint)), inputs)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    worst = largest_difference(generator, lambda fed: session.run([OUTPUT], dict(zip(names, fed, strict=True))), inputs)
    if not worst <= tolerance(generator):  # NaN is no agreement either
        path.unlink(missing_ok=True)
        raise GateError(
            f"{path}: onnxruntime and torch differ by {worst:.2e} in images (allowed {tolerance(generator):.0e}); "
            "no file was written"
        )
    write_bytes(path, model)
    examples = generator_inputs(generator, inputs, 1, 1.0, seed=0)
    return {
        "path": str(path),
        "max_abs": worst,
        "tolerance": tolerance(generator),
        "checked": [list(pair) for pair in CHECKED],
        "bytes": len(model),
        "inputs": {name: ([1] if name == "psi" else ["N", *value.shape[1:]]) for name, value in examples.items()},
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def largest_difference(generator: nn.Module, answer: Answer, inputs: str = "z") -> float:
    """Compare with torch on batches of several sizes, and psi; NaN where either gives one.

    Args:
        generator: In evaluation mode.
        answer: What runs the file: inputs in its order to outputs, images the first.
        inputs: See `trace_generator`.
    """
    graph = trace_generator(generator, inputs).eval()
    differences = []
    for count, psi in CHECKED:
        fed = generator_inputs(generator, inputs, count, psi, seed=count)
        with torch.inference_mode():
            expected = graph(*fed.values()).numpy()
        found = answer([value.numpy() for value in fed.values()])[0]
        if found.shape != expected.shape:
            return float("nan")
        differences.append(np.abs(found - expected).max())
    return float(np.max(differences))
