"""Checkpoints of small untrained generators of every architecture, and their bundles."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sonoforge.training.gan.checkpoint import Description, save_checkpoint
from sonoforge.training.gan.networks import ARCHITECTURES

PLAIN: dict[str, dict[str, Any]] = {
    "dcgan-thesis": {},
    "dcgan": {"width": 8},
    "began": {"width": 8},
    "biggan": {"width": 4},
    # All operations; nothing comes to its second node.
    "ga-gan": {"width": 2, "cell": "{5, 5234-162-26-4, [1, 3]}"},
    "spade": {"width": 4, "structures": 2, "maps": 5},
    "projected": {"width": 4},
    "projected:label-maps": {"width": 4, "structures": 2, "maps": 5},
    "flow": {"width": 8},
    "flow:latent": {"width": 8, "depth": 4},
}
STYLED: dict[str, dict[str, Any]] = {
    "stylegan1": {"mapping_layers": 2, "channel_base": 64},
    "stylegan2": {"mapping_layers": 2, "channel_base": 64},
    "stylegan3-t": {"layers": 3, "channel_base": 64, "config": "t"},
    "stylegan3-r": {"layers": 3, "channel_base": 64, "config": "r"},
}


def image_side(recipe: str) -> int:
    """Side of the images in pixels: the smallest at which every part of the network is there."""
    if recipe.startswith("projected"):
        return 64
    return 16 if recipe in (*STYLED, "flow") else 32


def small_checkpoint(
    folder: Path, recipe: str, classes: int, *, channels: int = 1, masks: int = 0, side: int | None = None
) -> Path:
    """Write a run folder with one checkpoint, whose noise, biases and mean style are not the initial zeros.

    Args:
        folder: Of the run.
        recipe: Of `PLAIN` or `STYLED`, where a colon stands before a preset.
        classes: Number of classes, named a, b and c; 0: all images are of the class "lesion".
        channels: Of the image.
        masks: So many more channels are masks; of several, each has a name.
        side: Of the images in pixels; by default `image_side`.
    """
    architecture = recipe[:9] if recipe in STYLED else recipe.partition(":")[0]
    options: dict[str, Any] = {
        "image_size": side or image_side(recipe),
        "channels": channels + masks,
        "latent_size": 6,
        "classes": classes,
        **({"style_size": 8, "channel_max": 4, **STYLED[recipe]} if recipe in STYLED else PLAIN[recipe]),
    }
    if recipe.startswith("flow"):
        del options["latent_size"]
        options |= {"masks": masks}
    torch.manual_seed(1)
    generator = ARCHITECTURES[architecture].generator(**options)
    with torch.no_grad():
        for name, values in generator.named_parameters():
            if name.endswith("noise_strength"):
                values.fill_(0.3)
            elif values.ndim < 2:
                values.add_(0.1 * torch.randn_like(values))
            elif name.startswith("mapping"):
                values.mul_(1.5)
            elif recipe in ("dcgan-thesis", "dcgan", "began"):
                values.mul_(2)  # else the images are nearly flat
        if PLAIN.get(recipe, {}).get("maps"):
            generator.keep_maps(torch.rand(5, masks, options["image_size"], options["image_size"]) > 0.5)  # type: ignore[operator]
        if recipe in STYLED:
            generator.mapping.average.normal_()  # type: ignore[union-attr, operator]
        if recipe == "stylegan1":
            # A map without any spread, which is divided by the root of 1e-8: an exporter must not take that for 0.
            for name in ("bias", "noise_strength"):
                dict(generator.named_parameters())[f"synthesis.layers.0.{name}"][0] = 0
    names = ["a", "b", "c"][:classes]
    about = Description(
        7, recipe, architecture, options, channels, "" if names else "lesion", names, "0" * 64, {},
        structures=["disc", "optic-cup"] if masks > 1 else [], composition={"kept_maps": "training"},
    )  # fmt: skip
    return save_checkpoint(folder / "checkpoints", about, {"average": generator.state_dict()})


# Every format that a generator and this machine can have, and engines, which are written without a GPU if asked for.
ALL = ("all", *(("tensorrt", "tensorrt-fp16") if find_spec("tensorrt_rtx") else ()))

# Recipe, classes, masks, formats of the bundle: those that other tests read.
CASES = [
    ("dcgan", 0, 0, ("onnx",)),
    ("dcgan", 2, 1, ("onnx",)),
    ("began", 2, 0, ("onnx",)),
    ("stylegan2", 2, 0, ("onnx",)),
    ("spade", 0, 2, ("onnx",)),
    ("projected", 2, 1, ("onnx",)),
    ("flow:latent", 2, 1, ("onnx",)),
]

# The other architectures, and a bundle of all formats.
SLOW_CASES = [
    ("stylegan1", 0, 0, ("onnx",)),
    ("stylegan3-t", 2, 0, ALL),
    ("stylegan3-r", 2, 0, ("onnx",)),
    ("dcgan-thesis", 0, 0, ("onnx",)),
    ("biggan", 2, 0, ("onnx",)),
    ("ga-gan", 2, 0, ("onnx",)),
    ("projected:label-maps", 0, 2, ("onnx",)),
    ("flow", 0, 0, ("onnx", "torchscript")),  # an engine of its 9000 operators takes minutes
]


class ExportedGenerator(NamedTuple):
    """A checkpoint, its bundle's folder, and the manifest."""

    checkpoint: Path
    bundle: Path
    manifest: dict[str, Any]

    @property
    def rows(self) -> dict[str, Any]:
        """What became of each format."""
        rows: dict[str, Any] = self.manifest["parity"]["formats"]
        return rows


def read_export(run: Path) -> ExportedGenerator:
    """Return what lies in a run folder with one checkpoint and its bundle."""
    (description,) = run.glob("checkpoints/*/checkpoint.json")
    manifest = json.loads((run / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    return ExportedGenerator(description.parent, run / "bundle", manifest)
