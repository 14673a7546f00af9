"""A trained generator as one ONNX file: latents or styles, psi and class to images.

What runs where (torch 2.13, onnxruntime 1.31, networks of 32 pixels; largest difference from torch for batches of 1, 3
and 5 and psi of 1, 0.3 and -1):

| network     | ONNX (torch.export) | torch.jit.trace   | ONNX by the older, TorchScript exporter |
|-------------|---------------------|-------------------|-----------------------------------------|
| stylegan1   | yes                 | yes, to the bit   | no: depthwise filters' kernel           |
| stylegan2   | yes                 | yes, to the bit   | no: depthwise filters' kernel           |
| stylegan3-t | yes                 | no                | no                                      |
| stylegan3-r | yes                 | no                | no                                      |

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
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from sonoforge.export.onnx_graph import trace
from sonoforge.models.stylegan.mapping import MappingNetwork
from sonoforge.runtime.atomic import write_bytes
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.training.gan.checkpoint import describe, find_checkpoint
from sonoforge.training.gan.networks import load_generator

TOLERANCE = 1e-3
"""Largest absolute difference allowed in images, which are in about [-1, 1]; float32 against float32."""

CHECKED = ((1, 1.0), (3, 0.7), (5, -0.5))  # batch and psi
LARGEST_BATCH = 1024
OUTPUT = "images"


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

    def __init__(self, mapping: MappingNetwork, synthesis: nn.Module) -> None:
        super().__init__()
        self.mapping = mapping
        self.synthesis = synthesis

    def forward(self, styles: Tensor, psi: Tensor) -> Tensor:
        images: Tensor = self.synthesis(self.mapping.truncate(styles, psi))
        return images


def trace_generator(generator: nn.Module, inputs: str = "z") -> nn.Module:
    """Return a network that a tracer can follow, with the inputs of the exported file.

    Args:
        generator: With styles, in evaluation mode.
        inputs: ``"z"``: latents (N, Z) float, psi (1,) float, and for a conditional generator labels (N,) int64.
            ``"w"``: styles (N, L, W) float and psi (1,) float; the class is in the styles.

    Raises:
        SonoforgeError: Other inputs, or a generator without styles.
    """
    if inputs not in ("z", "w"):
        raise SonoforgeError(f"generator export: found inputs {inputs!r}, expected z or w")
    mapping = getattr(generator, "mapping", None)
    if not isinstance(mapping, MappingNetwork):
        raise SonoforgeError(
            f"generator export: found {type(generator).__module__}, which has no styles, expected StyleGAN 1, 2 or 3"
        )
    return _FromLatents(generator) if inputs == "z" else _FromStyles(mapping, generator.get_submodule("synthesis"))


def generator_inputs(generator: nn.Module, inputs: str, count: int, psi: float, seed: int) -> dict[str, Tensor]:
    """Draw inputs of `trace_generator`'s network by name, in its order; classes in turn."""
    chance = torch.Generator().manual_seed(seed)
    latents = torch.randn(count, int(generator.latent_size), generator=chance)  # type: ignore[arg-type]
    classes = int(generator.classes)  # type: ignore[arg-type]
    labels = torch.arange(count) % classes if classes else None
    psis = torch.tensor([psi])
    if inputs == "w":
        with torch.inference_mode():
            return {"styles": generator.mapping(latents, labels).contiguous(), "psi": psis}  # type: ignore[operator]
    return {"latents": latents, "psi": psis} | ({} if labels is None else {"labels": labels})


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
        GateError: Images differ by more than `TOLERANCE`, or the exporter wrote another operator set.
        SonoforgeError: Not a checkpoint, a generator without styles, or a file that cannot be written.
    """
    if path.is_dir():
        raise SonoforgeError(f"{path}: is a folder, expected the name of an .onnx file")
    about = describe(find_checkpoint(checkpoint))
    generator = load_generator(checkpoint).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
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
    model = trace(graph, examples, [OUTPUT], shapes, metadata, optimise=False)
    worst = _largest_difference(generator, graph, model, inputs)
    if not worst <= TOLERANCE:  # NaN is no agreement either
        path.unlink(missing_ok=True)
        raise GateError(
            f"{path}: onnxruntime and torch differ by {worst:.2e} in images (allowed {TOLERANCE:.0e}); "
            "no file was written"
        )
    write_bytes(path, model)
    return {
        "path": str(path),
        "max_abs": worst,
        "tolerance": TOLERANCE,
        "checked": [list(pair) for pair in CHECKED],
        "bytes": len(model),
        "inputs": {name: ([1] if name == "psi" else ["N", *value.shape[1:]]) for name, value in examples.items()},
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def _largest_difference(generator: nn.Module, graph: nn.Module, model: bytes, inputs: str) -> float:
    """Compare on batches of several sizes, and psi; NaN where either gives one."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    differences = []
    for count, psi in CHECKED:
        fed = generator_inputs(generator, inputs, count, psi, seed=count)
        with torch.inference_mode():
            expected = graph(*fed.values()).numpy()
        (found,) = session.run([OUTPUT], {name: value.numpy() for name, value in fed.items()})
        differences.append(np.abs(found - expected).max())
    return float(np.max(differences))
